"""The overview as Markdown, and as the lines that end the command on the console."""

from __future__ import annotations

from collections.abc import Iterator

from sclvlm.reporting.markdown import escaped, provenance_blocks
from sclvlm.reporting.overview import Compared, Overview, Standing
from sclvlm.reporting.tables import table
from sclvlm.reporting.wording import (
    FINDING,
    families,
    p_value,
    points,
    questions,
    range_of,
    rate,
    reading_guide,
)


def render_overview_markdown(overview: Overview) -> str:
    """The whole overview; links are the folders that it holds."""
    blocks = [
        f"# {escaped(overview.title)}",
        "\n".join(f"- **{escaped(each.run)}**: {escaped(each.sentence)}" for each in overview.statements),
        families(len(overview.statements)),
        *([escaped(overview.noise.sentence)] if overview.noise else []),
        *(escaped(note) for note in overview.notes),
        f"## The runs, {escaped(questions(overview.slice))}",
        table(("run", "turn", "accuracy", "unparsed", "mean response tokens"), _standings(overview)),
        f"## Against {escaped(overview.reference)}",
        table(
            ("slice", "turn", "run", "n", "accuracy", "difference", "p", "adjusted p", "finding"),
            (row for part in overview.slices for row in _compared(part)),
        ),
        reading_guide(overview.settings, repeated=overview.noise is not None),
        *provenance_blocks(overview.settings, overview.provenance),
    ]
    return "\n\n".join(blocks) + "\n"


def _standings(overview: Overview) -> Iterator[tuple[str, ...]]:
    for standing in overview.runs:
        for number, turn in enumerate(standing.summary.turns, start=1):
            yield _linked(standing), str(number), rate(turn.accuracy), rate(turn.unparsed), f"{turn.mean_tokens:.1f}"


def _linked(standing: Standing) -> str:
    name = escaped(standing.run)
    return f"[{name}]({standing.report}/report.md)" if standing.report else f"{name} (reference)"


def _compared(part: Compared) -> Iterator[tuple[str, ...]]:
    for each in part.found:
        found = each.comparison
        yield (
            escaped(part.name),
            each.turn,
            escaped(each.run),
            f"{found.n:,}",
            rate(found.after),
            f"{points(found.difference)} {range_of(found.interval, signed=True)}",
            p_value(found.p_value),
            p_value(each.holm),
            FINDING[each.finding],
        )


def overview_headline(overview: Overview) -> str:
    """A line for each run, and one about another seed if that is known."""
    noise = (overview.noise.sentence,) if overview.noise else ()
    return "\n".join((*(f"{each.run}: {each.sentence}" for each in overview.statements), *noise))
