"""The lines that end a run on the console."""

from __future__ import annotations

from sclvlm.reporting.schema import Report
from sclvlm.reporting.wording import FINDING, TURN, evidence, percent, points, questions


def headline(report: Report) -> str:
    """Three lines: accuracy before and after, the difference and what it amounts to, readability."""
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
        )
    )
