"""An audit in words: what each figure amounts to, and what to do where it matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sclvlm.audit.schema import Audit, Balance, Lengths, Overlap, Remark, Shortcut, Telling, Twin
from sclvlm.metrics import Interval
from sclvlm.records import Transition

NEAR_MATTERS = 0.01  # of the test pictures, nearly in training
STYLE_MATTERS = 0.6  # of the pairs, told apart by style
RARE_SOURCE = 0.1  # of the pairs, from the rarer of two sources

LEAKED = "Take the test questions' pictures out of data.samples or data.pairs, or evaluate on others."


class Table(NamedTuple):
    """Figures as words, in rows as long as `columns`."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def concluded(
    inputs: dict[str, str | int | None],
    *,
    overlap: Overlap | None,
    style: Shortcut | None,
    balance: Balance | None,
    lengths: Lengths | None,
) -> Audit:
    """The figures with what they amount to."""
    remarks = [
        *(_of_overlap(overlap) if overlap else [Remark(topic="overlap", verdict=UNCOMPARED)]),
        *(_of_style(style) if style else ()),
        *(_of_balance(balance) if balance else ()),
        *(_of_lengths(lengths) if lengths else ()),
    ]
    return Audit(inputs=inputs, overlap=overlap, style=style, balance=balance, lengths=lengths, remarks=tuple(remarks))


UNCOMPARED = "Training was not compared with test questions: none could be read."


def _of_overlap(found: Overlap) -> Iterator[Remark]:
    if found.pictures and found.training_pictures:
        yield _of_pictures(found)
    if found.unreadable:
        yield Remark(topic="unreadable pictures", verdict=f"{found.unreadable:,} pictures can't be read.")
    yield _of_questions(found)


def _of_pictures(found: Overlap) -> Remark:
    exact, of = found.same_file + found.same_pixels, f"of {found.pictures:,} pictures of the test set"
    matters = exact > 0 or found.near >= NEAR_MATTERS * found.pictures
    if not exact and not found.near:
        return Remark(topic="pictures", verdict="No picture of the test set is among the training pictures.")
    parts = [f"{exact:,} {of} are among the training pictures" if exact else f"None {of} is a training picture"]
    if found.near:
        parts.append(f"{found.near:,} are nearly the same as one of them")
    verdict = f"{', '.join(parts)} ({_percent((exact + found.near) / found.pictures)} together)."
    return Remark(topic="pictures", verdict=verdict, warns=matters, remedy=LEAKED if matters else "")


def _of_questions(found: Overlap) -> Remark:
    both, of = found.same_question_and_picture, f"of {found.questions:,} test questions"
    worded = f"{found.same_question:,} {of} are worded like one that is trained on"
    if both:
        verdict = f"{worded}, {both:,} of them with the same or nearly the same pictures, or none."
        return Remark(topic="questions", verdict=verdict, warns=True, remedy=LEAKED)
    return Remark(topic="questions", verdict=f"No test question is trained on with its pictures; {worded}.")


def _of_style(found: Shortcut) -> Iterator[Remark]:
    share, guess = _percent(found.accuracy), f"{_percent(found.chance)} is chance"
    where = f"{_range(found.interval)}; {guess}; {found.folds}-fold, {found.pairs:,} pairs"
    if found.interval.low <= found.chance:
        yield Remark(topic="style", verdict=f"Style alone does not tell chosen from rejected: {share} ({where}).")
        return
    matters = found.accuracy >= STYLE_MATTERS
    remedy = (
        "A model can learn that instead of right answers. label.balance=true takes as many corrections as spoilt "
        "answers, label.pairing=independent compares first answers only (needs infer.draws of 2 or more)."
    )
    verdict = f"{share} of pairs can be told apart by style alone ({where})."
    yield Remark(topic="style", verdict=verdict, warns=matters, remedy=remedy if matters else "")


def _of_balance(found: Balance) -> Iterator[Remark]:
    if (share := found.corrected) is None:
        return
    verdict = (
        f"{_percent(share.value)} of pairs prefer a correction ({Transition.IC}, {share.count:,}), the others a first "
        f"answer that was spoilt ({Transition.CI}, {share.n - share.count:,})."
    )
    matters = min(share.count, share.n - share.count) < RARE_SOURCE * share.n
    remedy = "Which turn was preferred is then almost a rule of its own: label.balance=true evens it out."
    yield Remark(topic="balance", verdict=verdict, warns=matters, remedy=remedy if matters else "")


def _of_lengths(found: Lengths) -> Iterator[Remark]:
    between = "" if found.interval is None else f", 95 % interval {_range(found.interval, scale=1)}"
    side = "longer" if found.difference >= 0 else "shorter"
    verdict = f"The chosen side is {abs(found.difference):.1f} characters {side} on average (difference{between})."
    if found.interval is not None and found.interval.low <= 0 <= found.interval.high:
        verdict = f"Both sides are about as long: {found.difference:+.1f} characters on average{between}."
    yield Remark(topic="lengths", verdict=verdict)


def tables(audit: Audit) -> Iterator[Table]:
    """Everything that is shown of `audit`, the remarks first."""
    yield Table("Findings", ("topic", "finding", "what to do"), tuple(_row(remark) for remark in audit.remarks))
    if audit.overlap and audit.overlap.twins:
        twins = tuple(_twin_row(each) for each in audit.overlap.twins)
        yield Table("Test pictures in training", ("question", "its picture", "the same", "training picture"), twins)
    if audit.style:
        columns = ("trait", "pairs where chosen has more", "where rejected has more")
        yield Table("Most telling traits of style", columns, tuple(_trait_row(each) for each in audit.style.telling))
    if audit.lengths:
        yield Table("Lengths in characters", ("side", "mean", "median"), _length_rows(audit.lengths))
    if audit.balance and audit.balance.sources:
        sources = tuple((source or "(none)", f"{count:,}") for source, count in audit.balance.sources.items())
        yield Table("Sources of pairs", ("source", "pairs"), sources)


def _row(remark: Remark) -> tuple[str, ...]:
    return (remark.topic, remark.verdict, remark.remedy or "–")


def _twin_row(twin: Twin) -> tuple[str, ...]:
    return (twin.id, twin.picture, twin.likeness.value, twin.training)


def _trait_row(trait: Telling) -> tuple[str, ...]:
    return (trait.name, f"{trait.chosen:,}", f"{trait.rejected:,}")


def _length_rows(found: Lengths) -> tuple[tuple[str, ...], ...]:
    return (
        ("chosen", f"{found.chosen_mean:.1f}", f"{found.chosen_median:g}"),
        ("rejected", f"{found.rejected_mean:.1f}", f"{found.rejected_median:g}"),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _range(interval: Interval, scale: float = 100) -> str:
    return f"[{scale * interval.low:.1f}, {scale * interval.high:.1f}]"
