"""Bring the model card's tables in step with what was measured: data/README.md from the JSON files beside it.

    python -m tools.card

Between <!-- name --> and <!-- end --> stands what a function of that name below makes of data/; the rest is written.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from minimagen import files
from minimagen.samples import COLUMNS, PROMPTS
from tools.editions import ROOT
from tools.places import filled

DATA = ROOT / "data"
JUDGED = {  # names of the measured, in the order of the table
    **{name: name for name in ("shape", "color", "size", "material", "pattern")},
    "on top": "what stands on another",
    "count": "number of things",
    **{name: name for name in ("backdrop", "floor", "light")},
    "word": "word on the sign, every letter",
    "scene": "the whole scene",
    "own caption": "true to its own caption",
    "another's": "true to another scene's caption (chance)",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, rule, *rows])


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"


def around(right: dict[str, float]) -> str:
    """An estimate in per cent, with its interval: 53 (45 to 61)."""
    return "{} ({} to {})".format(*(percent(right[part]) for part in ("mean", "low", "high")))


def read(name: str) -> dict:
    return files.read_json(DATA / name)


def scores(name: str, kinds: tuple[str, ...] = ("categories", "questions")) -> str:
    """Every row of an evaluation, with its interval and the judge's own score on true renders."""
    told = read(name)
    rows = [
        [
            row["name"],
            str(row["pictures"]),
            percent(row["right"]["mean"]),
            f"{percent(row['right']['low'])} to {percent(row['right']['high'])}",
            percent(row["judge"]),
        ]
        for kind in kinds
        for row in told[kind]
    ]
    return table(["", "pictures", "right", "95 % interval", "judge on true renders"], rows)


def samples() -> str:
    """What was asked for in the picture above it, row by row."""
    rows = [PROMPTS[i : i + COLUMNS] for i in range(0, len(PROMPTS), COLUMNS)]
    return "".join(f"{n}. {'; '.join(row)}\n" for n, row in enumerate(rows, 1))


def drawbench() -> str:
    return scores("evaluation.json")


def suites() -> str:
    return scores("suites.json", ("categories",))


def enlarged() -> str:
    """The suites once more, at 256 px, where patterns are asked too."""
    return scores("suites_256.json", ("categories",))


def looks(name: str = "evaluation.json") -> str:
    """What is measured of DrawBench's pictures as a whole, or of another evaluation's."""
    told = read(name)["fidelity"]
    apart = ", ".join(f"{name} {told[f'{name} excess']:+.3f}" for name in ("red", "green", "blue"))
    return f"Channel means against true pictures' (of ±1): {apart}. Readable: {percent(told['readable'])} of 100.\n"


def captions() -> str:
    """What was drawn for captions like training's, as a crowd: how far it is from a crowd of true pictures."""
    told = read("captions.json")
    seen, right = told["fidelity"], told["categories"][0]["right"]
    apart, floor = seen["fréchet"], seen["fréchet floor"]
    return (
        f"Fréchet distance of {seen['fréchet count']:,} pictures to as many true ones: {apart:.1f}; "
        f"between two such crowds of true ones {floor:.2f}, and it is {apart / floor:.0f} times that.\n"
        f"True to every word of their captions: {around(right)} of 100. {looks('captions.json')}"
    )


ENLARGED = {  # what tools/measure_enlarging.py measures, and what it is called
    "psnr": "PSNR",
    "psnr, gained": "PSNR above what it began from",
    "psnr at edges": "PSNR at edges",
    "psnr at edges, gained": "the same above what it began from",
    "detail": "detail that the small picture cannot hold, % of the truth's",
    "scene": "the whole scene read right, %",
    "word": "words read right, %",
    "each pattern": "patterns as told, of two things of two patterns, %",
    "pattern": "both of them, %",
}
WAYS = {
    "interpolated": "interpolated",
    "drawn": "drawn from that",
    "interpolated, noisy": "interpolated, with noise",
    "drawn, noisy": "drawn from that",
    "true": "the truth",
}


def enlarging() -> str:
    """What the stages that enlarge gain over interpolation: means, and intervals of the gains and of shares."""

    def cell(kind: str, row: dict[str, float] | None) -> str:
        if row is None:
            return "–"
        if "psnr" not in kind:
            return around(row)
        bounds = f" ({row['low']:+.1f} to {row['high']:+.1f})" if "gained" in kind else ""
        return f"{row['mean']:{'+' if bounds else ''}.1f}{bounds} dB"

    rows = []
    for size, ways in read("enlarging.json").items():
        for kind, title in ENLARGED.items():
            if found := [ways[way][kind] for way in ways if kind in ways[way]]:
                cells = [cell(kind, ways.get(way, {}).get(kind)) for way in WAYS]
                rows.append([f"{size} px: {title} ({found[0]['n']})", *cells])
    return table(["", *WAYS.values()], rows)


def encoders() -> str:
    """What pictures obey, and what sentences save, with the trained text encoder and with an untrained one."""
    told = read("encoders.json")
    both = [told[name] for name in ("trained", "untrained")]
    rows = []
    for suite in both[0]:
        for kind, title in (("own", "training's own words"), ("new", "new words")):
            if kind not in both[0][suite]:
                continue
            asked = [of[suite][kind] for of in both]
            counts = " and ".join(str(row["count"]) for row in asked)
            chance = " and ".join(percent(row["chance"]) for row in asked)
            rows.append([f"{suite}: {title}", counts, *(around(row["right"]) for row in asked), chance])
        parts = [of[suite]["saved"] for of in both]
        cells = [f"{percent(part['mean'], 1)} ± {percent(part['half'], 1)}" for part in parts]
        rows.append([f"{suite}: loss saved", "", *cells, "0"])
    return table(["", "asked", "trained", "untrained", "chance"], rows)


def judge() -> str:
    told = read("judge/measured.json")
    sizes = [size for size in ("256 px", "64 px") if size in told]
    rows = [
        [text, *(percent(told[size][name], 1) if name in told[size] else "cannot be seen" for size in sizes)]
        for name, text in JUDGED.items()
    ]
    return table(["", *sizes], rows)


def hashes() -> str:
    names = sorted(path.parent.name for path in DATA.glob("*/model.safetensors"))
    return table(
        ["`model.safetensors` of", "SHA-256"],
        [[f"`{name}`", f"`{files.sha256(DATA / name / 'model.safetensors')}`"] for name in names],
    )


def current(page: str) -> str:
    makers = (samples, drawbench, suites, enlarged, looks, captions, enlarging, encoders, judge, hashes)
    return filled(page, {maker.__name__: maker for maker in makers})


if __name__ == "__main__":
    card = DATA / "README.md"
    card.write_text(current(card.read_text(encoding="utf-8")), encoding="utf-8")
