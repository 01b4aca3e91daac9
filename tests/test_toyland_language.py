"""Captions are true, varied and readable, and reading them inverts them."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimagen.toyland.compose import SIGN, random_scene
from minimagen.toyland.heldout import DEFINITIONS, SYNONYMS
from minimagen.toyland.language import caption, captions
from minimagen.toyland.parsing import ATTRIBUTES, Description, ThingDescription, matches, parse
from minimagen.toyland.phrases import PLURALS, a
from minimagen.toyland.rewording import articles, defined, misspell, reword
from minimagen.toyland.scene import BACKDROPS, FLOORS, LIGHTS, SHAPES, Scene, Thing
from minimagen.toyland.situations import random_thing

MANY = 10_000


@pytest.fixture(scope="module")
def spoken():
    """(scene, caption) of many seeds, with what is held out and without."""
    scenes = [random_scene(seed, "train" if seed % 2 else "all") for seed in range(MANY)]
    return [(s, s.caption) for s in scenes]


# ---- there and back ----


def test_every_caption_is_read_back_and_true(spoken):
    for scene, text in spoken:
        assert matches(parse(text), scene), text


def test_other_captions_are_read_back_and_true():
    for seed in range(1500):
        scene = random_scene(seed, "heldout")
        for text in scene.captions(4):
            assert matches(parse(text), scene), text


def test_a_caption_is_false_of_a_scene_that_differs_in_what_it_says(spoken):
    rng = random.Random(0)
    changed = 0
    for scene, text in spoken[:2500]:
        said = parse(text)
        for name, values in (("backdrop", BACKDROPS), ("floor", FLOORS), ("light", LIGHTS)):
            other = replace(scene, **{name: rng.choice([v for v in values if v != getattr(scene, name)])})
            assert matches(said, other) == (getattr(said, name) is None), text
        if scene.word:
            assert not matches(said, replace(scene, word=scene.word[::-1] + "X" * (len(scene.word) == 1) or "Q")) or (
                scene.word == scene.word[::-1]
            )
            if scene.things:
                assert not matches(said, replace(scene, word=None))
        if len(scene.things) > 1:
            assert not matches(said, replace(scene, things=scene.things[1:])), text
        if 0 < len(scene.things) < 5:
            assert not matches(said, replace(scene, things=(*scene.things, Thing("cone", "red", "small", x=9.0)))), text
        if len(said.things) == 1 and scene.things:
            described = said.things[0]
            for name, values in ATTRIBUTES.items():
                if said.relations and name in ("shape", "size"):
                    continue  # it would not only be another thing, but stand elsewhere by the sign
                wrong = rng.choice([v for v in values if v != getattr(scene.things[0], name)])
                things = (replace(scene.things[0], **{name: wrong}), *scene.things[1:])
                assert matches(said, replace(scene, things=things)) == (getattr(described, name) is None), text
                changed += 1
        elif len(scene.things) == 2 and any(min(i, j) >= 0 for i, _, j in said.relations):
            x, y = scene.things
            place = {k: getattr(x, k) for k in ("x", "y", "z")}, {k: getattr(y, k) for k in ("x", "y", "z")}
            swapped = replace(scene, things=(replace(x, **place[1]), replace(y, **place[0])))
            assert not matches(said, swapped), text
            changed += 1
    assert changed > 3000


# ---- how they read ----


def skeleton(text):
    """The form of a caption: its noun phrases as T, its words as W, its setting as S."""
    text = re.sub(r'"[^"]*"', "W", text)
    for b in BACKDROPS:
        text = text.replace(b, "S")
    vocabulary = "|".join(sorted({*PLURALS.values(), *(v for vs in ATTRIBUTES.values() for v in vs)}, key=len)[::-1])
    text = re.sub(rf"\b({'|'.join(FLOORS)}|sand|grass|tiles)\b", "F", text)
    text = re.sub(rf"(?:\b(?:an?|one|two|three|four|five|\d)\s)?(?:(?:{vocabulary}),? ?)+", "T ", text)
    return re.sub(r"\s+", " ", text.replace(".", "")).strip()


def test_there_are_many_forms(spoken):
    forms: dict[str, int] = {}
    for _, text in spoken:
        forms[skeleton(text)] = forms.get(skeleton(text), 0) + 1
    assert sum(n >= 3 for n in forms.values()) >= 200
    assert len({text for _, text in spoken}) > 0.9 * MANY


def test_captions_read_well(spoken):
    for _, text in spoken:
        assert text == text.lower().strip()
        assert not re.search(r"  | [.,:;?]|,,|\.\.|\ba [aeio]|\ban [^aeio]", text), text
        words = text.split()
        assert len(words) <= 48, text
        assert not any(v == w and w not in "abcdefghijklmnopqrstuvwxyz" for v, w in zip(words, words[1:])), text
    assert sum(len(text.split()) for _, text in spoken) / MANY < 18


def test_what_goes_without_saying_is_mostly_unsaid_and_patterns_are_said(spoken):
    said = dict.fromkeys(("plain", "patterned", "matte", "backdrop"), 0)
    count = dict(said)
    for scene, text in spoken:
        if len(scene.things) == 1:
            t, d = scene.things[0], parse(text)
            for key, here, told in (
                ("plain", t.pattern == "plain", d.things[0].pattern),
                ("patterned", t.pattern != "plain", d.things[0].pattern),
                ("matte", t.material == "matte", d.things[0].material),
                ("backdrop", True, d.backdrop),
            ):
                count[key] += here
                said[key] += here and told is not None
    share = {k: said[k] / count[k] for k in said}
    assert share["plain"] < 0.15 and share["matte"] < 0.35 and 0.25 < share["backdrop"] < 0.5
    assert share["patterned"] > 0.88


def test_synonyms_and_definitions_never_occur_in_captions(spoken):
    forbidden = [w for words in SYNONYMS.values() for w in words] + [w for s in SHAPES for w in DEFINITIONS[s]]
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, forbidden)) + r"|colour)(?:e?s)?\b")
    for _, text in spoken:
        found = pattern.search(re.sub(r'"[^"]*"', "", text))
        assert not found, f"{found.group()}: {text}"


def test_captions_are_different_and_the_first_is_the_main_one():
    for seed in range(200):
        scene = random_scene(seed)
        several = scene.captions(5)
        assert several[0] == scene.caption == caption(scene) and len(several) == len(set(several)) == 5
        assert captions(scene, 3) == several[:3]


def test_the_words_on_signs_are_quoted_in_lower_case():
    scene = Scene((), word="HELLO")
    assert all('"hello"' in text for text in scene.captions(20))


# ---- reading ----

RED, BLUE = ThingDescription("cube", "red"), ThingDescription("sphere", "blue")
LEFT = Description((RED, BLUE), ((0, "left of", 1),))
TURNED = Description((BLUE, RED), ((1, "left of", 0),))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a red cube", Description((RED,))),
        ("Red cube.", Description((RED,))),
        ("a picture of a red cube and a blue sphere", Description((RED, BLUE))),
        ("a red cube left of a blue sphere", LEFT),
        ("a red cube stands to the left of a blue sphere", LEFT),
        ("to the left of a blue sphere is a red cube", TURNED),
        ("a blue sphere with a red cube to its left", TURNED),
        ("a red cube and a blue sphere. the cube is left of the sphere", LEFT),
        ("there is a blue sphere. to its left is a red cube", TURNED),
        ("a red cube on the left and a blue sphere on the right", LEFT),
        ("on the left is a red cube, on the right a blue sphere", LEFT),
        ("a red cube on a blue sphere", Description((RED, BLUE), ((0, "on top of", 1),))),
        ("a red cube carrying a blue sphere", Description((RED, BLUE), ((1, "on top of", 0),))),
        ("a red cube on sand", Description((RED,), floor="sandy")),
        ("a red cube at night, lit from above", Description((RED,), backdrop="night sky", light="above")),
        ("three red cubes", Description((replace(RED, count=3),))),
        ("count the red cubes: three", Description((replace(RED, count=3),))),
        ("a cube that is red and small", Description((replace(RED, size="small"),))),
        ("a small, shiny, red cube", Description((replace(RED, size="small", material="shiny"),))),
        ("a red cube made of glass with stripes", Description((replace(RED, material="glass", pattern="striped"),))),
        ("a red cube and the cube", Description((RED,))),
        ('a sign that says "hello"', Description(word="HELLO")),
        ('the word "hi" on a sign behind a red cube', Description((RED,), ((SIGN, "behind", 0),), word="HI")),
        (
            "from left to right: a red cube, a cone and a blue sphere",
            Description((RED, ThingDescription("cone"), BLUE), ((0, "left of", 1), (1, "left of", 2))),
        ),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a tiny crimson ball", Description((ThingDescription("sphere", "red", "small"),))),
        ("a thing with six square faces, the colour of blood", Description((RED,))),
        (
            "two big party hats",
            Description((ThingDescription("cone", None, "large", count=2),)),
        ),
        ("a scarlet crate ahead of an azure orb", Description((RED, BLUE), ((0, "in front of", 1),))),
    ],
)
def test_synonyms_are_read_only_when_asked(text, expected):
    assert parse(text, synonyms=True) == expected
    with pytest.raises(ValueError):
        parse(text)


def test_reworded_captions_are_read_back(spoken):
    for k, (scene, text) in enumerate(spoken[:3000]):
        other = reword(random.Random(k), text)
        assert matches(parse(other, synonyms=True), scene), other


def test_rewording_keeps_number_quotes_and_settings():
    text = 'three large red cubes and a sign that says "red" against a white wall'
    said = {reword(random.Random(k), text) for k in range(60)}
    for other in said:
        assert re.search(r"\b(boxes|blocks|crates) and a sign that says \"red\" against a white wall", other), other
        assert not re.search(r"large|red |cube", other), other
    assert reword(random.Random(0), text, rate=0.0) == text


def test_definitions_mean_what_they_define():
    for k in range(1000):
        text, mean = defined(rng := random.Random(k), random_thing(rng))
        assert parse(text, synonyms=True) == parse(mean)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("", "names nothing"),
        ("a red blorf", "'blorf' is not known in Toyland"),
        ("six red cubes", "6 things are too many"),
        ("three cubes and three cones", "6 things are too many"),
        ("red cubes", "does not say how many"),
        ("a red blue cube", "both red and blue"),
        ("a red cube left of", "'left of', but not of what"),
        ("a red cube and a blue cube. the cube is left of a cone", "not clear which of 2 things"),
        ("a sign", "needs its word in double quotes"),
        ('"cat"', "stands on nothing"),
        ('a sign that says "ten letters"', "capital letters"),
        ('a sign that says "abcdefghij"', "at most 6 letters"),
        ("a cube on sand on grass", "two different things as its floor"),
        ("a cube on the left", "what is left or right"),
        ("a red cube is red", "cannot be read from 'red' on"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        parse(text)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text):
    try:
        assert isinstance(parse(text), Description)
    except ValueError:
        pass


@given(
    st.lists(
        st.sampled_from("a an the red cube cubes two left of on sign and with , . its that is".split()), max_size=9
    )
)
def test_any_words_are_read_or_refused(words):
    try:
        assert isinstance(parse(" ".join(words)), Description)
    except ValueError:
        pass


def test_a_relation_of_several_holds_for_each():
    cubes = [Thing("cube", "red", "small", x=-2.0, z=z) for z in (0.0, 0.8)]
    sphere = Thing("sphere", "blue", "small", x=1.0)
    said = parse("two red cubes left of a blue sphere")
    assert matches(said, Scene((*cubes, sphere)))
    assert not matches(said, Scene((cubes[0], replace(cubes[1], x=3.0), sphere)))


def test_a_smaller_margin_forgives_what_was_measured():
    scene = Scene((Thing("cube", "red", "small"), Thing("sphere", "blue", "small", x=0.9)))
    assert not matches(LEFT, scene) and matches(LEFT, scene, margin=0.5)
    assert not matches(parse("a red cube right of a blue sphere"), scene, margin=0.5)


def test_articles():
    assert a("orange cube") == "an orange cube" and a("red cube") == "a red cube"
    assert articles("a azure orb and an unpolished one") == "an azure orb and an unpolished one"
    assert articles("an uniform tin, a unpatterned tin") == "a uniform tin, an unpatterned tin"


# ---- slips ----


def distance(s, t):
    """Edit distance with swaps of neighbours (optimal string alignment)."""
    d = {(i, 0): i for i in range(len(s) + 1)} | {(0, j): j for j in range(len(t) + 1)}
    for i in range(1, len(s) + 1):
        for j in range(1, len(t) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (s[i - 1] != t[j - 1]))
            if i > 1 and j > 1 and s[i - 1] == t[j - 2] and s[i - 2] == t[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(s), len(t)]


@pytest.mark.parametrize("edits", [1, 2])
def test_misspellings_are_as_many_edits_away_and_leave_quotes_alone(edits):
    for seed in range(300):
        text = random_scene(seed).caption
        other = misspell(text, seed, edits)
        assert other == misspell(text, seed, edits) != text
        assert 1 <= distance(text, other) <= edits, (text, other)
        assert re.findall(r'"[^"]*"', text) == re.findall(r'"[^"]*"', other)


def test_misspelling_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="1 or 2 edits"):
        misspell("a red cube", 0, edits=3)
    with pytest.raises(ValueError, match="no word of four letters"):
        misspell('a red "cube"', 0)


@pytest.mark.parametrize("said", ["a red cube. on the left.", "on the left. a red cube"])
def test_a_side_of_nothing_is_one_sentence(said):
    with pytest.raises(ValueError, match="It is not clear what stands on which side"):
        parse(said)
