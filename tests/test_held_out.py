from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.errors import ConfigError
from sclvlm.records import Demonstration, text_message
from sclvlm.records.held_out import Split, hold_out


def shown(name: str, question: str = "Which colour?", images: Sequence[str] = ()) -> Demonstration:
    return Demonstration(
        id=name,
        prompt=[text_message("user", question, images=len(images))],
        completion=[text_message("assistant", "red")],
        images=tuple(images),
    )


def ids(side: Sequence[Demonstration]) -> list[str]:
    return [record.id for record in side]


def test_a_share_of_the_prompts_is_set_apart() -> None:
    records = [shown(str(number), f"Question {number}?") for number in range(20)]
    split = hold_out(records, 0.25, seed=0)
    assert len(split.held_out) == 5
    assert sorted(ids(split.training) + ids(split.held_out)) == sorted(ids(records))


def test_records_of_one_prompt_count_once() -> None:
    # Ten prompts of two records each: a fifth are two prompts, so four records.
    records = [shown(f"{number}-{draw}", f"Question {number}?") for number in range(10) for draw in range(2)]
    assert len(hold_out(records, 0.2, seed=0).held_out) == 4


def test_records_stay_with_those_they_share_a_picture_with() -> None:
    # a and c have no picture in common, but b has one with either.
    chain = [shown("a", images=["1"]), shown("b", "Both?", ["1", "2"]), shown("c", images=["2"])]
    others = [shown(f"other-{number}", images=[f"{number}.png"]) for number in range(3)]
    for seed in range(10):
        apart = set(ids(hold_out([*chain, *others], 0.5, seed=seed).held_out))
        assert apart.intersection("abc") in (set(), {"a", "b", "c"})


def test_the_same_words_about_other_pictures_are_another_prompt() -> None:
    records = [shown(str(number), images=[f"{number}.png"]) for number in range(4)]
    assert len(hold_out(records, 0.5, seed=0).held_out) == 2


def test_the_seed_alone_chooses() -> None:
    records = [shown(str(number), f"Question {number}?") for number in range(30)]
    chosen = [ids(hold_out(records, 0.2, seed=seed).held_out) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_no_share_sets_nothing_apart() -> None:
    records = [shown("a"), shown("b", "Else?")]
    assert hold_out(records, 0.0, seed=0) == Split(records, [])


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match=r"held_out_share: all 2 records share pictures or a prompt.*data\.held_out"):
        hold_out([shown("a"), shown("b")], 0.5, seed=0)


@given(st.lists(st.lists(st.integers(0, 8), max_size=2), min_size=2, max_size=20), st.floats(0.01, 0.99))
def test_both_sides_have_records_and_no_picture_in_common(pictures: list[list[int]], share: float) -> None:
    records = [shown(str(number), images=[str(each) for each in own]) for number, own in enumerate(pictures)]
    try:
        split = hold_out(records, share, seed=3)
    except ConfigError:
        return
    assert split.training
    assert split.held_out
    seen = [{(record.images, image) for record in side for image in record.images or ("",)} for side in split]
    assert not {image for _, image in seen[0]} & {image for _, image in seen[1]}
