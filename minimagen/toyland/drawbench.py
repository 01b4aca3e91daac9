"""DrawBench in miniature: prompts in the eleven categories of Imagen's benchmark, each with what must be seen.

    for prompt in drawbench(): score(judge(draw(prompt.text))[0], prompt.description)

Every prompt comes with a scene that it is true of, so that the judge can be tried on the same words. `suite` asks the
same kinds of questions one at a time. All of it is a function of nothing: the same prompts on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from minimagen.toyland import prompts
from minimagen.toyland.heldout import HELDOUT_WORDS, TRAIN_WORDS
from minimagen.toyland.prompts import Pool, Prompt

Builder = Callable[[Pool], Iterator[Prompt]]


def _words_by_turns(pool: Pool) -> Iterator[Prompt]:
    sources = [prompts.words(pool, names) for names in (TRAIN_WORDS, HELDOUT_WORDS)]
    while True:
        yield from (next(source) for source in sources)


DRAWBENCH: dict[str, tuple[Builder, int]] = {
    "colour binding": (prompts.colour_binding, 22),
    "counting": (prompts.counting, 25),
    "positional relations": (prompts.positional, 25),
    "held-out combinations": (partial(prompts.combinations, hidden=True), 24),
    "size, material and stacks": (prompts.looks_and_stacks, 24),
    "definitions": (prompts.definitions, 32),
    "hard composition": (prompts.hard, 24),
    "misspellings": (prompts.misspellings, 20),
    "synonyms": (prompts.synonyms, 32),
    "style and background": (prompts.style, 24),
    "quoted words": (_words_by_turns, 24),
}

# The questions by which a cascade is trained and shipped, one a suite.
SUITES: dict[str, Builder] = {
    "one object": partial(prompts.whole_looks, kind="one"),
    "two objects": partial(prompts.whole_looks, kind="two"),
    "relation": prompts.positional,
    "count": prompts.counting,
    "seen combinations": partial(prompts.combinations, hidden=False),
    "held-out combinations": partial(prompts.combinations, hidden=True),
    "synonyms": prompts.synonyms,
    "definitions": prompts.definitions,
    "training word": partial(prompts.words, names=TRAIN_WORDS),
    "unseen word": partial(prompts.words, names=HELDOUT_WORDS),
    "captions": prompts.captions,
}


def _first(source: Iterator[Prompt], n: int, category: str) -> tuple[Prompt, ...]:
    """The first n that differ, under the name of the category."""
    found: dict[str, Prompt] = {}
    while len(found) < n:
        prompt = next(source)
        found.setdefault(prompt.text, replace(prompt, category=category))
    return tuple(found.values())


@functools.cache
def _drawbench() -> tuple[Prompt, ...]:
    found: list[Prompt] = []
    for number, (category, (build, n)) in enumerate(DRAWBENCH.items()):
        found += _first(build(Pool(number)), n, category)
    return tuple(found)


def drawbench(category: str | None = None) -> list[Prompt]:
    """The 276 prompts of the benchmark, or those of one category."""
    if category is not None and category not in DRAWBENCH:
        raise ValueError(f"DrawBench has no category {category!r}; it has {', '.join(DRAWBENCH)}.")
    return [p for p in _drawbench() if category in (None, p.category)]


@functools.cache
def _suite(name: str, n: int) -> tuple[Prompt, ...]:
    return _first(SUITES[name](Pool(100 + list(SUITES).index(name))), n, name)


def suite(name: str, n: int = 50) -> list[Prompt]:
    """n prompts that all ask one kind of question. A larger n begins with the prompts of a smaller one."""
    if name not in SUITES:
        raise ValueError(f"There is no suite {name!r}; there are {', '.join(SUITES)}.")
    if not 1 <= n <= 20_000:
        raise ValueError(f"A suite has 1 to 20000 prompts; {n} were asked for.")
    return list(_suite(name, n))
