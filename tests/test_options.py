"""How often each option was chosen, before and after."""

from __future__ import annotations

import pytest

from sclvlm.agents.play import samples
from sclvlm.agents.trajectories import told
from sclvlm.grading import grade_trace
from sclvlm.records import GradedTrace, ModelRef, Sample, Trace, Turn
from sclvlm.reporting import build_report, headline, render_html, render_markdown
from sclvlm.reporting.options import option_shares, reading_shares

STARTS = {sample.id: sample for sample in samples(range(4), preferred=0)}
BEFORE, AFTER = (0, 1, 1, None), (0, 0, 0, 2)  # exits reached from each start


def run(reached: tuple[int | None, ...], asked: dict[str, Sample] = STARTS) -> list[GradedTrace]:
    return [_graded(sample, exit_) for sample, exit_ in zip(asked.values(), reached, strict=True)]


def _graded(sample: Sample, reached: int | None) -> GradedTrace:
    turn = Turn(role="initial", prompt=[], response=told([0], reached), num_tokens=1, finish_reason="stop")
    trace = Trace(id=sample.id, turns=(turn,), model=ModelRef(path="tiny"), sampling={}, prompts={}, seed=0)
    return grade_trace(trace, sample)


def test_shares_are_of_all_first_answers_and_what_was_not_read_comes_first() -> None:
    shares = option_shares(STARTS, run(BEFORE), run(AFTER), 0.95)
    assert [each.option for each in shares] == ["none", "left exit", "middle exit", "right exit"]
    assert [each.before.value for each in shares] == [1 / 4, 1 / 4, 2 / 4, 0]
    assert [each.after.value for each in shares] == [0, 3 / 4, 0, 1 / 4]
    assert all(each.after.interval.low <= each.after.value <= each.after.interval.high for each in shares)


def test_rules_that_read_an_answer_before_or_after_are_counted_in_both() -> None:
    shares = reading_shares(run(BEFORE), run(AFTER), 0.95)
    assert [(each.option, each.before.count, each.after.count) for each in shares] == [("marker", 3, 4), ("none", 1, 0)]


@pytest.mark.parametrize("change", [{"choices": ("a", "b")}, {"kind": "text", "choices": (), "answer": "left exit"}])
def test_there_are_none_where_questions_offer_different_options_or_nothing(change: dict[str, object]) -> None:
    first, *others = STARTS.values()
    mixed = [Sample.model_validate({**first.model_dump(), **change}), *others]
    asked = {sample.id: sample for sample in mixed}
    assert option_shares(asked, run(BEFORE, asked), run(AFTER, asked), 0.95) == ()


def test_every_form_of_the_report_shows_them() -> None:
    report = build_report(title="Exits", samples=STARTS, before=run(BEFORE), after=run(AFTER), resamples=100)
    assert "Options chosen after: none 0.0 % [0.0, 49.0], left exit 75.0 %" in headline(report)
    assert "| left exit | 25.0 % " in render_markdown(report)
    assert '<td class="name">left exit</td><td>25.0 % ' in render_html(report)
    assert report.options[1].after.count == 3
    assert "| marker | 75.0 % " in render_markdown(report)
    assert '<td class="name">marker</td><td>75.0 % ' in render_html(report)
