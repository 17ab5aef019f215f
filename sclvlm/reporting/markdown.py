"""The report as Markdown, readable as plain text and on a code host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sclvlm.audit import Audit, tables
from sclvlm.metrics import RunSummary, Which
from sclvlm.records import Transition
from sclvlm.reporting.schema import Curve, Example, Names, OfficialRow, Report, Settings, Shown, Slice
from sclvlm.reporting.sentences import findings_sentences, pairs_sentence
from sclvlm.reporting.tables import flow_table, shift_blocks
from sclvlm.reporting.tables import table as _table
from sclvlm.reporting.wording import (
    FINDING,
    OFFICIAL_GUIDE,
    answers_of,
    bound,
    drawn_from,
    fact_text,
    format_caution,
    gain,
    heading,
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
    main, names = report.main, _escaped_names(report)
    blocks = [
        f"# {escaped(report.title)}",
        f"**{escaped(report.headline.sentence)}**",
        *([escaped(report.noise.sentence)] if report.noise else []),
        format_caution(main.comparison(report.headline.turn)),
        *(escaped(note) for note in report.notes),
        f"## {escaped(heading(report.names))}",
        _comparisons(report),
        *(line for turn in report.turns for line in findings_sentences(report.slices, turn)),
        reading_guide(report.settings, repeated=report.noise is not None),
        *_official(report),
        *_self_correction(report),
        f"## {' to '.join(answers_of(names)[:1] + names[1:])}, first turn, {escaped(questions(main.name))}",
        _transitions(main.first.transitions, *names),
        *(flow_table(flow, names) for flow in report.flows),
        "## Readability and length",
        _readability(report),
        *shift_blocks(report.shifts, names),
        *_habits(report),
        *(block for each in report.learning for block in _pairs(each.pair_counts, _of(each.run))),
        *(block for each in report.learning for block in _audit(each.audit, _of(each.run))),
        *(block for each in report.learning for block in _training(each.training, _of(each.run))),
        *_gallery(report),
        *provenance_blocks(report.settings, report.provenance),
    ]
    return "\n\n".join(blocks) + "\n"


def _escaped_names(report: Report) -> Names:
    then, now = report.names
    return escaped(then), escaped(now)


def _of(run: str) -> str:
    """What a heading says of whose it is; nothing of the one run of a report before and after training."""
    return f": {escaped(run)}" if run else ""


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
        *_escaped_names(report),
        "difference",
        "p",
        "Holm",
        *(["another seed"] if report.noise else []),
        "format",
        "content",
        "finding",
    )
    repeated = report.noise is not None
    return _table(header, (_comparison_row(part, turn, repeated) for part in report.slices for turn in report.turns))


def _comparison_row(part: Slice, turn: Which, repeated: bool) -> tuple[str, ...]:
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
        *([bound(part.floor(turn))] if repeated else []),
        gain(found.format),
        gain(found.content),
        FINDING[part.finding(turn)],
    )


def _official(report: Report) -> Iterator[str]:
    if report.official:
        yield "## Official figures"
        yield OFFICIAL_GUIDE
        columns = [f"{run}, {turn} turn" for run in _escaped_names(report) for turn in report.turns]
        yield _table(("benchmark", "figure", *columns), map(_official_row, report.official))


def _official_row(row: OfficialRow) -> tuple[str, ...]:
    values = (official(row, value) for value in (*row.before, *row.after))
    return (escaped(row.benchmark), escaped(row.figure), *values)


def _self_correction(report: Report) -> Iterator[str]:
    if "last" not in report.turns:
        return
    main = report.main
    yield f"## First to last turn, {escaped(questions(main.name))}"
    for name, run in zip(answers_of(_escaped_names(report)), (main.before, main.after), strict=True):
        yield f"### {name}"
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
        for name, run in zip(_escaped_names(report), (part.before, part.after), strict=True)
        for index, turn in enumerate(run.turns, start=1)
    )
    return _table(("slice", "run", "turn", "unparsed", "mean response tokens"), rows)


def _habits(report: Report) -> Iterator[str]:
    for title, name, shares in (
        ("Options chosen", "option", report.options),
        ("How answers were read", "rule", report.readings),
    ):
        if shares:
            header = (name, *_escaped_names(report))
            yield f"## {title}"
            yield _table(header, ((escaped(row.option), rate(row.before), rate(row.after)) for row in shares))


def _pairs(counts: Mapping[str, int] | None, of: str) -> Iterator[str]:
    if counts:
        yield f"## Preference pairs{of}"
        if made := pairs_sentence(counts):
            yield escaped(made)
        yield _table(("what", "count"), ((escaped(k), f"{v:,}") for k, v in counts.items()))


def _audit(audit: Audit | None, of: str) -> Iterator[str]:
    if audit:
        yield f"## Audit of the training records{of}"
        for table in tables(audit):
            yield f"### {table.heading}"
            yield _table(table.columns, ([escaped(cell) for cell in row] for row in table.rows))


def _training(curves: Sequence[Curve], of: str) -> Iterator[str]:
    if curves:
        yield f"## Training{of}"
        yield _table(("quantity", "first", "last", "least", "most", "steps"), map(_curve_row, curves))


def _curve_row(curve: Curve) -> tuple[str, ...]:
    figures = [f"{value:.4g}" for value in (*curve.ends, *curve.range)]
    steps = f"{curve.steps[0]}–{curve.steps[-1]}" if curve.steps else "none"
    dropped = f" ({curve.dropped} not finite)" if curve.dropped else ""
    return (escaped(curve.name), *figures, steps + dropped)


def _gallery(report: Report) -> Iterator[str]:
    yield "## Changed answers"
    yield drawn_from(report.gallery)
    for example in report.gallery.examples:
        yield from _example_blocks(example, answers_of(_escaped_names(report)))


def _example_blocks(example: Example, names: Names) -> Iterator[str]:
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


def provenance_blocks(settings: Settings, provenance: Mapping[str, Any]) -> Iterator[str]:
    """How the figures were made, and how what they are about."""
    yield "## To reproduce"
    yield f"Intervals: {settings.resamples:,} resamples, seed {settings.seed}."
    for name, fact in provenance.items():
        yield f"### {escaped(name)}"
        yield fenced(fact_text(fact))
