"""Numbers and findings as words, the same in every rendering."""

from __future__ import annotations

from typing import Any

import yaml

from sclvlm.metrics import ALPHA, FEWEST, Comparison, Finding, Gain, Interval, NoiseFloor, Rate, Which
from sclvlm.reporting.schema import BEFORE_AFTER, Gallery, Names, OfficialRow, Settings

TURN = {"first": "first turn", "last": "last turn"}

FINDING = {
    Finding.GAIN: "a gain beyond noise",
    Finding.LOSS: "a loss beyond noise",
    Finding.NOISE: "within noise",
}


def percent(share: float | None) -> str:
    """0.451 as `45.1 %`; a dash where there is no share."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """0.069 as `+6.9`, in percentage points, with a true minus sign."""
    rounded = round(100 * difference, 1)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):.1f}"


def range_of(interval: Interval, *, signed: bool = False) -> str:
    """An interval of shares in percent, or of differences in points."""
    if signed:
        return f"[{points(interval.low)}, {points(interval.high)}]"
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def p_value(p: float | None) -> str:
    """`p = 0.039`, or `p < 0.001`; a dash where there is none."""
    if p is None:
        return "–"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def rate(value: Rate) -> str:
    """`45.1 % [40.2, 50.1]`."""
    return f"{percent(value.value)} {range_of(value.interval)}"


def official(row: OfficialRow, value: float | None) -> str:
    """A figure of a benchmark: `45.1 %`, or `1,432.5` in points; a dash where there is none."""
    return f"{value:,.1f}" if row.in_points and value is not None else percent(value)


OFFICIAL_GUIDE = (
    "What each benchmark's own metric makes of these answers, first draw. These are plain figures without intervals: "
    "whether a difference is more than noise, the table of accuracies says."
)


def gain(value: Gain) -> str:
    """`+2.1 (12 gained, 5 lost)`."""
    return f"{points(value.share)} ({value.gained} gained, {value.lost} lost)"


def questions(name: str) -> str:
    """A slice as the subject of a sentence."""
    return f"{name} questions"


def level(settings: Settings) -> str:
    """0.95 as `95 %`."""
    return f"{100 * settings.confidence:g} %"


def evidence(comparison: Comparison, settings: Settings) -> str:
    """`+6.9 points, 95 % interval [+3.1, +10.8], p < 0.001`."""
    return (
        f"{points(comparison.difference)} points, {level(settings)} interval "
        f"{range_of(comparison.interval, signed=True)}, {p_value(comparison.p_value)}"
    )


def headline_sentence(
    name: str,
    turn: Which,
    comparison: Comparison,
    settings: Settings,
    finding: Finding,
    names: Names,
    adjusted: str = "",
) -> str:
    """What the comparison says, and no more than that. adjusted: what is to be said behind the p-value."""
    before, after = percent(comparison.before.value), percent(comparison.after.value)
    where = f"on {questions(name)} ({TURN[turn]}, n = {comparison.n:,})"
    found = evidence(comparison, settings) + adjusted
    if finding is Finding.NOISE:
        levels = (before, after) if names == BEFORE_AFTER else (f"{before} with", f"{after} with")
        both = " and ".join(f"{value} {run}" for value, run in zip(levels, names, strict=True))
        return f"Accuracy {where} was {both}: {found}. {noise(comparison)}"
    if names == BEFORE_AFTER:
        verb = "rose" if finding is Finding.GAIN else "fell"
        return f"Accuracy {where} {verb} from {before} to {after}: {found}."
    side = "higher" if finding is Finding.GAIN else "lower"
    return f"Accuracy {where} is {side} with {names[1]} ({after}) than with {names[0]} ({before}): {found}."


def noise(comparison: Comparison) -> str:
    """That nothing can be claimed, and what could have been seen where the comparison itself is the reason."""
    sentence = "This difference is within noise: it shows neither a gain nor a loss."
    if comparison.clusters < FEWEST:
        return f"{sentence} With fewer than {FEWEST} pictures or groups none could be found."
    if comparison.detectable is None or comparison.finding is not Finding.NOISE:
        return sentence
    seen = f"{100 * comparison.detectable:.1f}"
    return f"{sentence} A true difference of {seen} points would be found four times in five."


def bound(floor: NoiseFloor | None) -> str:
    """`±4.1`, the points within which another seed stays; a dash where nobody knows."""
    return f"±{100 * floor.bound:.1f}" if floor and floor.bound else "–"


def noise_floor(floor: NoiseFloor, reference: str, repeat: str) -> str:
    """What another seed alone did to the reference, and how far it may set two such runs apart."""
    changed = (
        f"Another seed of {reference} ({repeat}) changed the verdict of {floor.flips.count:,} of {floor.n:,} questions "
        f"({rate(floor.flips)})"
    )
    if not floor.bound:
        return f"{changed}: it bounds no difference. Greedy answers of the same weights are alike whatever the seed."
    return (
        f"{changed} and accuracy by {points(floor.difference)} points; in {100 * (1 - ALPHA):g} of 100 such repeats a "
        f"difference stays within {bound(floor)} points."
    )


def beside_floor(floor: NoiseFloor, difference: float) -> str:
    """On which side of what another seed does a difference lies; nothing where it bounds none."""
    told = f"The difference of {points(difference)} points"
    if not floor.bound:
        return ""
    if floor.covers(difference):
        return f" {told} lies within {bound(floor)}, the bound of another seed: it needs no better model."
    return f" {told} exceeds {bound(floor)}, the bound of another seed: that alone would hardly make it."


def families(runs: int) -> str:
    """How the p-values of several runs against one are adjusted."""
    return (
        f"p is adjusted by Holm's procedure over the {runs} runs that are compared with the reference; for benchmarks, "
        "and for categories, over all runs times all of these, at the same turn. A finding goes by the adjusted p."
    )


def heading(names: Names) -> str:
    """`Before and after`, or `a and b` as the runs are called."""
    return " and ".join(names) if names != BEFORE_AFTER else "Before and after"


def minus(names: Names) -> str:
    """`After minus before`, or `b minus a`."""
    return f"{names[1]} minus {names[0]}" if names != BEFORE_AFTER else "After minus before"


def answers_of(names: Names) -> Names:
    """What stands over an answer of each run."""
    return names if names != BEFORE_AFTER else ("Before", "After")


def format_caution(comparison: Comparison) -> str:
    """How much of the difference came with readability alone."""
    return (
        f"Of the difference, {points(comparison.format.share)} points are format (unparsed answers that "
        f"became correct, less the reverse) and {points(comparison.content.share)} are content (wrong "
        "answers that became correct, less the reverse)."
    )


def reading_guide(settings: Settings, *, repeated: bool = False) -> str:
    """How to read the figures. repeated: whether another seed of the reference was looked at."""
    seed = (
        " It must also exceed the bound of another seed: how far chance alone sets two runs of the reference apart "
        "that differ in nothing but the seed."
    )
    return (
        f"Brackets hold {level(settings)} intervals: of a share, Wilson's; of a difference, in percentage "
        "points, a paired bootstrap that resamples questions about one image, or of one group, together. "
        "p is the exact sign-flip test over images and groups, which is McNemar's where each has one question; for "
        "benchmarks and categories, which are many, Holm's adjusted p stands beside it. A difference counts as gain or "
        f"loss only when its interval leaves out 0 and p, adjusted where it is, is below {ALPHA}."
        f"{seed if repeated else ''} "
        "An unparsed answer counts as wrong. "
        "Format is the part of a difference from unparsed answers becoming correct, less the reverse; "
        "content is the part from wrong answers."
    )


def drawn_from(gallery: Gallery) -> str:
    """How the examples were chosen."""
    changed = gallery.gains + gallery.losses
    if not changed:
        return "No first answer changed between correct and not correct."
    return (
        f"{changed:,} first answers changed between correct and not correct: {gallery.gains:,} gains and "
        f"{gallery.losses:,} losses. Shown are {len(gallery.examples)}, drawn at random, in that proportion."
    )


def fact_text(fact: Any) -> str:
    """A fact of the provenance: text as it is, a list of texts line by line, anything else as YAML."""
    if isinstance(fact, str):
        return fact
    if isinstance(fact, list | tuple) and all(isinstance(line, str) for line in fact):
        return "\n".join(fact)
    return str(yaml.safe_dump(fact, allow_unicode=True, sort_keys=False, width=100)).rstrip()
