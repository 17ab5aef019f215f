"""The report as Markdown, readable as plain text and on a code host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from sclvlm.audit import tables
from sclvlm.metrics import RunSummary, Which
from sclvlm.records import Transition
from sclvlm.reporting.schema import Curve, Example, Gallery, OfficialRow, Report, Shown, Slice
from sclvlm.reporting.sentences import findings_sentences, pairs_sentence
from sclvlm.reporting.tables import flow_table, shift_blocks
from sclvlm.reporting.tables import table as _table
from sclvlm.reporting.wording import (
    FINDING,
    OFFICIAL_GUIDE,
    RUNS,
    drawn_from,
    fact_text,
    format_caution,
    gain,
    official,
    p_value,
    percent,
    points,
    questions,
    range_of,
    rate,
    reading_guide,
)


def render_markdown(report: Report) -> str:
    """The whole report; image links are the paths the report holds."""
    main = report.main
    blocks = [
        f"# {escaped(report.title)}",
        f"**{escaped(report.headline.sentence)}**",
        format_caution(main.comparison(report.headline.turn)),
        *(escaped(note) for note in report.notes),
        "## Before and after",
        _comparisons(report),
        *(line for turn in report.turns for line in findings_sentences(report.slices, turn)),
        reading_guide(report.settings),
        *_official(report),
        *_self_correction(report),
        f"## Before to after, first turn, {escaped(questions(main.name))}",
        _transitions(main.first.transitions, "before", "after"),
        *map(flow_table, report.flows),
        "## Readability and length",
        _readability(report),
        *shift_blocks(report.shifts),
        *_habits(report),
        *_pairs(report),
        *_audit(report),
        *_training(report.training),
        *_gallery(report.gallery),
        *_reproduction(report),
    ]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """`text` as one line that no Markdown reader takes for markup, HTML or a table border."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", flat)


def fenced(text: str) -> str:
    """`text` in a fence longer than any it holds itself."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _comparisons(report: Report) -> str:
    header = (
        "slice",
        "turn",
        "n",
        "before",
        "after",
        "difference",
        "p",
        "Holm",
        "format",
        "content",
        "finding",
    )
    return _table(header, (_comparison_row(part, turn) for part in report.slices for turn in report.turns))


def _comparison_row(part: Slice, turn: Which) -> tuple[str, ...]:
    found = part.comparison(turn)
    return (
        escaped(part.name),
        turn,
        f"{found.n:,}",
        rate(found.before),
        rate(found.after),
        f"{points(found.difference)} {range_of(found.interval, signed=True)}",
        p_value(found.p_value),
        p_value(part.holm(turn)),
        gain(found.format),
        gain(found.content),
        FINDING[part.finding(turn)],
    )


def _official(report: Report) -> Iterator[str]:
    if report.official:
        yield "## Official figures"
        yield OFFICIAL_GUIDE
        columns = [f"{run}, {turn} turn" for run in RUNS for turn in report.turns]
        yield _table(("benchmark", "figure", *columns), map(_official_row, report.official))


def _official_row(row: OfficialRow) -> tuple[str, ...]:
    values = (official(row, value) for value in (*row.before, *row.after))
    return (escaped(row.benchmark), escaped(row.figure), *values)


def _self_correction(report: Report) -> Iterator[str]:
    if "last" not in report.turns:
        return
    main = report.main
    yield f"## First to last turn, {escaped(questions(main.name))}"
    for name, run in zip(RUNS, (main.before, main.after), strict=True):
        yield f"### {name.capitalize()}"
        yield _transitions(run.transitions, "first turn", "last turn")
        yield _decomposition(run)


def _transitions(counts: dict[Transition, int], rows: str, columns: str) -> str:
    return _table(
        (f"{rows} ↓ {columns} →", "correct", "not correct"),
        (
            ("correct", str(counts[Transition.CC]), str(counts[Transition.CI])),
            ("not correct", str(counts[Transition.IC]), str(counts[Transition.II])),
        ),
    )


def _decomposition(run: RunSummary) -> str:
    return (
        f"Δ {points(run.delta)} points: {percent(run.delta_ic)} became correct (i→c), "
        f"{percent(run.delta_ci)} became wrong (c→i). Keeps a correct answer (CL): "
        f"{percent(run.confidence_level)}; repairs a wrong one (CS): {percent(run.critique_score)}. "
        f"Answer changed: {rate(run.answer_changed)}."
    )


def _readability(report: Report) -> str:
    rows = (
        (
            escaped(part.name),
            name,
            str(index),
            rate(turn.unparsed),
            f"{turn.mean_tokens:.1f}",
        )
        for part in report.overall
        for name, run in zip(RUNS, (part.before, part.after), strict=True)
        for index, turn in enumerate(run.turns, start=1)
    )
    return _table(("slice", "run", "turn", "unparsed", "mean response tokens"), rows)


def _habits(report: Report) -> Iterator[str]:
    for heading, name, shares in (
        ("Options chosen", "option", report.options),
        ("How answers were read", "rule", report.readings),
    ):
        if shares:
            yield f"## {heading}"
            yield _table((name, *RUNS), ((escaped(row.option), rate(row.before), rate(row.after)) for row in shares))


def _pairs(report: Report) -> Iterator[str]:
    if report.pair_counts:
        yield "## Preference pairs"
        if made := pairs_sentence(report.pair_counts):
            yield escaped(made)
        yield _table(("what", "count"), ((escaped(k), f"{v:,}") for k, v in report.pair_counts.items()))


def _audit(report: Report) -> Iterator[str]:
    if report.audit:
        yield "## Audit of the training records"
        for table in tables(report.audit):
            yield f"### {table.heading}"
            yield _table(table.columns, ([escaped(cell) for cell in row] for row in table.rows))


def _training(curves: Sequence[Curve]) -> Iterator[str]:
    if curves:
        yield "## Training"
        yield _table(("quantity", "first", "last", "least", "most", "steps"), map(_curve_row, curves))


def _curve_row(curve: Curve) -> tuple[str, ...]:
    figures = [f"{value:.4g}" for value in (*curve.ends, *curve.range)]
    steps = f"{curve.steps[0]}–{curve.steps[-1]}" if curve.steps else "none"
    dropped = f" ({curve.dropped} not finite)" if curve.dropped else ""
    return (escaped(curve.name), *figures, steps + dropped)


def _gallery(gallery: Gallery) -> Iterator[str]:
    yield "## Changed answers"
    yield drawn_from(gallery)
    for example in gallery.examples:
        yield from example_blocks(example)


def example_blocks(example: Example, names: Sequence[str] = ("Before", "After")) -> Iterator[str]:
    """A question with its pictures and two answers to it, called by `names`."""
    yield f"### {example.change.capitalize()}: {escaped(example.question)}"
    yield from (f"![picture](<{quote(Path(image).as_posix())}>)" for image in example.images)
    choices = "; ".join(f"{label}. {text}" for label, text in example.labels)
    yield escaped(f"Id {example.id}. Right answer: {' or '.join(example.gold)}. {choices}")
    yield from _shown(names[0], example.before)
    yield from _shown(names[1], example.after)


def _shown(name: str, shown: Shown) -> Iterator[str]:
    read = "nothing could be read" if shown.answer is None else f"read as {escaped(shown.answer)}"
    yield f"{name}: {shown.verdict} ({read})"
    yield fenced(shown.response)


def _reproduction(report: Report) -> Iterator[str]:
    yield "## To reproduce"
    settings = report.settings
    yield f"Intervals: {settings.resamples:,} resamples, seed {settings.seed}."
    for name, fact in report.provenance.items():
        yield f"### {escaped(name)}"
        yield fenced(fact_text(fact))
