"""The text corpus: endless, repeatable, varied; and what its pairs claim is so."""

import re
from collections import Counter
from itertools import islice

import pytest

from minimagen.toyland.corpus import clauses, normal, pairs, sentences
from minimagen.toyland.heldout import DEFINITIONS, HELDOUT_WORDS, SYNONYMS
from minimagen.toyland.parsing import parse
from minimagen.toyland.phrases import PLURALS

MANY = 20_000


@pytest.fixture(scope="module")
def text():
    return list(sentences(7, MANY))


@pytest.fixture(scope="module")
def tasks():
    found: dict[str, list[tuple[str, str]]] = {}
    for source, target in pairs(7, MANY):
        name, _, rest = source.partition(": ")
        found.setdefault(name, []).append((rest, target))
    return found


def content(caption):
    """What a caption says of its things, whatever their order; relations as sets of the two ways to say each."""
    d = parse(caption, synonyms=True)
    return sorted(map(str, d.things)), d.word, d.backdrop, d.floor, d.light


def test_the_corpus_is_repeatable_and_its_beginning_does_not_depend_on_its_length(text):
    assert list(sentences(7, 500)) == text[:500]
    assert list(islice(pairs(7, 10**9), 300)) == list(pairs(7, 300))
    assert list(sentences(8, 100)) != text[:100]


def test_it_is_varied(text):
    assert len(set(text)) > 0.85 * MANY
    assert len({w for s in text for w in re.findall(r"[a-z]+", re.sub(r'"[^"]*"', "", s))}) > 500


def test_every_synonym_and_definition_is_frequent(text):
    """Whatever a picture's prompt may take from text alone must be in the text."""
    whole = "\n".join(text)
    for words in SYNONYMS.values():
        for word in words:
            assert len(re.findall(rf"\b{re.escape(word)}", whole)) >= 15, word
    for definitions in DEFINITIONS.values():
        for words in definitions:
            assert words in whole, words


def test_captions_in_the_vocabulary_are_frequent_too(text):
    read = 0
    for line in text[:3000]:
        try:
            parse(line)
            read += 1
        except ValueError:
            pass
    assert read > 0.15 * 3000


def test_it_is_lower_case_and_well_formed(text, tasks):
    lines = text + [part for found in tasks.values() for pair in found for part in pair]
    for line in lines:
        assert line == line.lower().strip() and line, line
        assert not re.search(r"  | [.,;?]|@", line), line
        assert line.count('"') % 2 == 0, line


def test_words_held_out_of_pictures_are_spelled_in_text(text):
    quoted = {w for line in text for w in re.findall(r'"([^"]*)"', line)}
    assert sum(w.lower() in quoted for w in HELDOUT_WORDS) > 0.6 * len(HELDOUT_WORDS)


def test_articles_are_right(text):
    for line in text:
        for article, word in re.findall(r"\b(an?) ([a-z-]{2,})", re.sub(r'"[^"]*"', "", line)):
            vowel = word[0] in "aeio" and word != "one" or word.startswith("un") and not word.startswith("uni")
            assert (article == "an") == vowel or word == "and", line


def test_all_tasks_occur(tasks):
    assert set(tasks) == {
        "paraphrase", "say it plainly", "question", "true or false", "summarize", "spell", "join", "how many letters",
        "first letter", "last letter", "define", "name", "meaning", "correct",
    }  # fmt: skip
    assert min(len(found) for found in tasks.values()) > 50


def test_a_paraphrase_says_the_same(tasks):
    assert len(tasks["paraphrase"]) > 4000
    for one, two in tasks["paraphrase"][:1500]:
        assert content(one) == content(two), (one, two)


def test_saying_it_plainly_keeps_the_meaning_and_drops_the_synonyms(tasks):
    for source, target in tasks["say it plainly"][:1500]:
        assert content(source) == content(target), (source, target)
        parse(target)  # without synonyms


def test_true_or_false_is_right(tasks):
    truths = Counter(answer for _, answer in tasks["true or false"])
    assert min(truths["true"], truths["false"]) > 100
    for source, answer in tasks["true or false"]:
        statement, _, context = source.partition(". context: ")
        assert (content(statement) == content(context)) == (answer == "true"), source


def test_questions_are_answered_by_their_context(tasks):
    checked: Counter = Counter()
    for source, answer in tasks["question"]:
        question, _, context = source.partition(" context: ")
        said = parse(context, synonyms=True)
        shapes = {t.shape: t for t in said.things if sum(o.shape == t.shape for o in said.things) == 1}
        if m := re.fullmatch(r"what colour is the (\w+)\?", question):
            if m[1] in shapes:
                assert shapes[m[1]].color == answer, source
                checked["colour"] += 1
        elif m := re.fullmatch(r"how large is the (\w+)\?", question):
            assert shapes[m[1]].size == answer, source
            checked["size"] += 1
        elif m := re.fullmatch(r"what pattern has the (\w+)\?", question):
            assert shapes[m[1]].pattern == answer, source
            checked["pattern"] += 1
        elif m := re.fullmatch(r"how many (\w+) are there\?", question):
            assert said.count == ("one", "two", "three", "four", "five").index(answer) + 1, source
            assert PLURALS[said.things[0].shape] == m[1]
            checked["count"] += 1
        elif question == "what does the sign say?":
            assert answer == f'"{said.word.lower()}"', source
            checked["word"] += 1
        elif m := re.fullmatch(r"is the (\w+) (left of|right of|in front of|behind) the (\w+)\?", question):
            i, j = (
                next(k for k, t in enumerate(said.things) if t.shape == m[s]) if m[s] != "sign" else -1 for s in (1, 3)
            )
            opposite = {"left of": "right of", "right of": "left of", "in front of": "behind", "behind": "in front of"}
            if len(said.relations) == 1:
                truth = (i, m[2], j) in said.relations or (j, opposite[m[2]], i) in said.relations
                assert truth == (answer == "yes"), source
                checked["relation"] += 1
    assert min(checked[k] for k in ("colour", "size", "pattern", "count", "word", "relation")) > 40, checked


def test_spelling(tasks):
    for source, target in tasks["spell"]:
        assert target == " ".join(source.strip('"'))
    for source, target in tasks["join"]:
        assert target == '"' + source.replace(" ", "") + '"'
    for source, target in tasks["how many letters"]:
        assert int(target) == len(source.strip('"'))
    for source, target in tasks["last letter"]:
        assert target == source.strip('"')[-1]


def test_meanings_and_names_come_from_the_tables(tasks):
    for source, target in tasks["meaning"]:
        assert source in SYNONYMS[target]
    for source, target in tasks["name"]:
        assert any(source in (f"a thing {d}", f"the colour of {d}") for d in DEFINITIONS[target])


def test_a_correction_ends_in_the_vocabulary(tasks):
    for source, target in tasks["correct"]:
        assert source != target and len(source) - len(target) in range(-2, 3)
        parse(target)


def test_excluded_texts_do_not_occur(text):
    """Neither as a line nor as a clause of one."""
    captions = [line for line in text if " is " not in line and "." not in line][:40]
    exclude = [*captions, "A Large Red Cube.", "a tiny crimson ball"]
    forbidden = {normal(e) for e in exclude}
    for line in sentences(7, 3000, exclude):
        assert forbidden.isdisjoint(clauses(line)), line
    for pair in pairs(7, 3000, exclude):
        for part in pair:
            assert forbidden.isdisjoint(clauses(part)), part
    assert any(not forbidden.isdisjoint(clauses(line)) for line in text[:3000])  # without exclude they do
