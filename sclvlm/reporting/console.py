"""The lines that end a run on the console."""

from __future__ import annotations

from collections.abc import Iterator

from sclvlm.reporting.schema import Report
from sclvlm.reporting.wording import FINDING, RUNS, TURN, evidence, percent, points, questions, rate


def headline(report: Report) -> str:
    """Accuracy before and after, the difference and what it amounts to, readability, and the options chosen if any."""
    part, turn = report.main, report.headline.turn
    comparison = part.comparison(turn)
    subject = questions(part.name).capitalize()
    before, after = (percent(rate.value) for rate in (comparison.before, comparison.after))
    unread = " before, ".join(percent(run.turns[0].unparsed.value) for run in (part.before, part.after))
    return "\n".join(
        (
            f"{subject}, {TURN[turn]} (n = {comparison.n:,}): {before} before, {after} after.",
            f"Difference {evidence(comparison, report.settings)}: {FINDING[comparison.finding]}.",
            f"Unparsed answers: {unread} after. Of the difference, {points(comparison.format.share)} points "
            f"are format and {points(comparison.content.share)} content.",
            *_options(report),
        )
    )


def _options(report: Report) -> Iterator[str]:
    for name in RUNS if report.options else ():
        chosen = ", ".join(f"{each.option} {rate(getattr(each, name))}" for each in report.options)
        yield f"Options chosen {name}: {chosen}."
