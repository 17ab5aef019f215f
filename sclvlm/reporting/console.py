"""The lines that end a run on the console."""

from __future__ import annotations

from collections.abc import Iterator

from sclvlm.reporting.schema import BEFORE_AFTER, Report
from sclvlm.reporting.wording import FINDING, TURN, evidence, percent, points, questions, rate


def headline(report: Report) -> str:
    """Accuracy before and after, the difference and what it amounts to, readability, and the options chosen if any."""
    part, turn = report.main, report.headline.turn
    comparison = part.comparison(turn)
    then, now = report.names
    subject = questions(part.name).capitalize()
    before, after = (percent(rate.value) for rate in (comparison.before, comparison.after))
    unread = f" {then}, ".join(percent(run.turns[0].unparsed.value) for run in (part.before, part.after))
    return "\n".join(
        (
            f"{subject}, {TURN[turn]} (n = {comparison.n:,}): {before} {then}, {after} {now}.",
            f"Difference {evidence(comparison, report.settings)}: {FINDING[part.finding(turn)]}.",
            f"Unparsed answers: {unread} {now}. Of the difference, {points(comparison.format.share)} points "
            f"are format and {points(comparison.content.share)} content.",
            *((report.noise.sentence,) if report.noise else ()),
            *_options(report),
        )
    )


def _options(report: Report) -> Iterator[str]:
    if report.options:
        for name, side in zip(report.names, BEFORE_AFTER, strict=True):
            chosen = ", ".join(f"{each.option} {rate(getattr(each, side))}" for each in report.options)
            yield f"Options chosen {name}: {chosen}."
