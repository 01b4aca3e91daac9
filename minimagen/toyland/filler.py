"""Everyday sentences, so that the text corpus is a language and not only a catalogue of toys."""

from __future__ import annotations

import random

WHO = (
    "the cat", "the old dog", "my sister", "the teacher", "a bird", "our neighbour", "the baker", "the little boy",
    "a girl", "the farmer", "his uncle", "her friend", "the painter", "a fox", "the captain", "the children's nurse",
    "the gardener", "a tired traveller", "the king", "the queen", "the doctor", "a young singer", "the horse",
    "the rabbit", "a student", "the clockmaker", "my grandmother", "the postman", "the fisherman", "a bear",
)  # fmt: skip
DID = (
    "sleeps", "sings a song", "reads a book", "drinks some tea", "looks at the sky", "waits for the bus",
    "eats an apple", "writes a letter", "opens the door", "closes the window", "walks slowly", "runs fast",
    "plays the piano", "smiles", "counts the stars", "carries a basket", "draws a map", "tells a story",
    "cooks some soup", "cleans the kitchen", "finds a coin", "loses a shoe", "builds a boat", "laughs loudly",
    "buys fresh bread", "thinks about the sea", "mends the roof", "waters the flowers", "listens to the rain",
    "rides a bicycle",
)  # fmt: skip
WHERE = (
    "in the garden", "at home", "near the river", "in the kitchen", "by the sea", "in the forest", "at school",
    "on the hill", "in the city", "under the tree", "at the market", "in the park", "on the bridge", "by the window",
    "in the library", "at the station", "on the roof", "in the meadow", "beside the lake", "in the old house",
)  # fmt: skip
WHEN = (
    "today", "every morning", "in the evening", "at noon", "on monday", "on sunday", "in winter", "in summer",
    "after lunch", "before dinner", "once a week", "all day long", "again and again", "now and then",
    "in the early morning",
)  # fmt: skip
WHY = (
    "because it is cold", "because it is warm", "because the sun shines", "because it rains", "because there is time",
    "although it is late", "although nobody is looking", "while the wind blows", "while the others work",
    "until the bell rings",
)  # fmt: skip
OPPOSITES = (
    ("large", "small"), ("left", "right"), ("in front", "behind"), ("black", "white"), ("warm", "cold"),
    ("early", "late"), ("open", "closed"), ("full", "empty"), ("young", "old"), ("fast", "slow"), ("day", "night"),
    ("near", "far"), ("top", "bottom"), ("wet", "dry"), ("shiny", "matte"), ("loud", "quiet"), ("above", "below"),
    ("first", "last"),
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
FACTS = (
    "a picture is worth many words", "water turns to ice when it is cold", "the moon goes around the earth",
    "a circle has no corners", "a square has four equal sides", "a triangle has three corners",
    "what is transparent lets the light through", "metal is hard and glass breaks",
    "a mirror shows what is before it", "a shadow falls on the side away from the light",
    "what is near looks large, and what is far looks small", "wood comes from trees", "sand is found at the beach",
    "grass grows in the meadow", "red and white make pink", "blue and yellow make green", "red and blue make purple",
    "red and yellow make orange", "at night the sky is dark", "the sun sets in the evening",
    "a wall is made of bricks", "a sign tells us where to go", "words are made of letters",
    "a sentence is made of words", "stripes are long lines", "a chessboard is checkered", "a ladybird has dots",
)  # fmt: skip


def filler(rng: random.Random) -> str:
    """One everyday sentence."""

    def pick(names):
        return names[int(rng.random() * len(names))]

    u = rng.random()
    if u < 0.25:
        return f"{pick(WHO)} {pick(DID)} {pick(WHERE)}"
    if u < 0.40:
        return f"{pick(WHEN)} {pick(WHO)} {pick(DID)} {pick(WHERE)}"
    if u < 0.55:
        return f"{pick(WHO)} {pick(DID)} {pick(WHERE)} {pick(WHY)}"
    if u < 0.70:
        return f"{pick(WHO)} {pick(DID)}, and {pick(WHO)} {pick(DID)} {pick(WHERE)}"
    if u < 0.76:
        return f"who {pick(DID)} {pick(WHERE)}? {pick(WHO)}"
    if u < 0.82:
        x, y = pick(OPPOSITES)
        x, y = (x, y) if rng.random() < 0.5 else (y, x)
        return pick((f"the opposite of {x} is {y}", f"what is not {x} is {y}", f"{x} or {y}, not both"))
    if u < 0.86:
        days = DAYS if rng.random() < 0.4 else MONTHS
        k = int(rng.random() * len(days))
        return f"after {days[k]} comes {days[(k + 1) % len(days)]}"
    if u < 0.92:
        x, y = int(rng.random() * 11), int(rng.random() * 11)
        if rng.random() < 0.5:
            return f"{NUMBERS[x]} and {NUMBERS[y]} make {NUMBERS[x + y]}"
        return f"{NUMBERS[max(x, y)]} minus {NUMBERS[min(x, y)]} is {NUMBERS[abs(x - y)]}"
    return pick(FACTS)
