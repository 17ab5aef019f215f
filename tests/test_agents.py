"""The grid world, its episodes as records, the policy that acts in it, and the engine that plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sclvlm.agents import play
from sclvlm.agents.trajectories import TrajectoryProcessor, told
from sclvlm.agents.world import AGENT, EXIT_COLOURS, EXITS, World
from sclvlm.collation import logps
from sclvlm.collators import plain_collator
from sclvlm.config import Config
from sclvlm.engines import Opening
from sclvlm.engines.world import WorldEngine
from sclvlm.errors import ConfigError, SclvlmError
from sclvlm.grading import grade
from sclvlm.models import Policy, load_policy, scoring
from sclvlm.pipeline import run_stages
from sclvlm.records import AnswerKind, PreferencePair, Verdict, text_message
from sclvlm.rollouts import rollouts_of
from sclvlm.sections import OnlineSection
from sclvlm.trajectories import TrajectoryCollator
from tests import acting
from tests.acting import EAST, NORTH, SMALL, SOUTH, WEST

BIG = World()
OPEN = World(size=6, cell=2, steps=12, obstacles=0)


@pytest.fixture(name="policy", scope="module")
def tiny_agent(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The tiny policy, loaded like any model."""
    return load_policy(str(acting.agent(tmp_path_factory.mktemp("agent") / "policy")), dtype="float32", device="cpu")


def opening(start: int, draw: int = 0) -> Opening:
    return Opening(play.name(start), draw, text_message("user", play.question(start)), ())


@given(st.integers(0, 10_000))
def test_every_exit_can_be_reached_from_every_start(start: int) -> None:
    agent = BIG.layout(start).agent
    assert all(BIG.distances(start, exit_)[agent] > 0 for exit_ in BIG.exits)


def test_a_start_is_the_same_world_each_time() -> None:
    assert np.array_equal(World().view(17), World(size=9).view(17))
    assert not np.array_equal(World().view(17), World().view(18))


def test_walls_and_borders_leave_the_agent_where_it_is() -> None:
    (row, column), *_ = np.argwhere(BIG.layout(3).walls).tolist()
    assert BIG.move(3, (row + 1, column), NORTH) == (row + 1, column)
    assert BIG.move(3, (8, 0), SOUTH) == (8, 0)
    assert BIG.move(3, (8, 0), WEST) == (8, 0)


def test_a_frame_shows_agent_and_exits_as_squares_of_a_cell() -> None:
    frame = OPEN.show(0, [(4, 2)])[0]
    assert frame.shape == (12, 12, 3)
    assert (frame[8:10, 4:6] == AGENT).all()
    assert [tuple(frame[0, column * 2]) for column in (1, 3, 4)] == list(EXIT_COLOURS)


def test_an_episode_seen_again_shows_what_was_seen_before_each_action() -> None:
    row, column = OPEN.layout(2).agent
    episode = OPEN.replay(2, [NORTH, SOUTH])
    assert np.array_equal(episode.frames, OPEN.show(2, [(row, column), (row - 1, column)]))
    assert episode.reached is None


def test_an_episode_ends_at_an_exit() -> None:
    column = OPEN.layout(2).agent[1]
    way = [WEST] * (column - 1) if column > 1 else [EAST] * (1 - column)
    there = [*way, *[NORTH] * 5]
    assert OPEN.replay(2, there).reached == EXITS.index("left exit")
    with pytest.raises(ValueError, match=f"ends at an exit after {len(there)} actions, got {len(there) + 1}"):
        OPEN.replay(2, [*there, NORTH])


def test_a_world_without_room_for_its_walls_is_refused() -> None:
    with pytest.raises(ValueError, match="at most half of its inner 12 cells"):
        World(size=6, obstacles=7)


def test_actions_are_read_without_the_outcome_that_the_world_added() -> None:
    text = told([NORTH, NORTH, EAST], 1)
    assert text == "north north east ## middle exit ##"
    assert TrajectoryProcessor(SMALL).actions([text_message("assistant", text)]) == [NORTH, NORTH, EAST]


@pytest.mark.parametrize(("text", "says"), [("north up", "got 'up'"), ("## left exit ##", "got none")])
def test_what_is_no_action_is_an_error(text: str, says: str) -> None:
    with pytest.raises(SclvlmError, match=says):
        TrajectoryProcessor(SMALL).actions([text_message("assistant", text)])


def test_a_prompt_without_a_start_is_an_error() -> None:
    with pytest.raises(SclvlmError, match="names its start, such as 'start 17', got 'go'"):
        TrajectoryProcessor(SMALL).start([text_message("user", "go")])


def test_an_episode_of_another_world_is_an_error() -> None:
    prompt = [text_message("user", play.question(2))]
    with pytest.raises(SclvlmError, match=r"start 2: an episode has at most 9 actions, got 10\. Was it played"):
        TrajectoryProcessor(SMALL).episode(prompt, [SOUTH] * 10)


def test_the_world_is_kept_beside_the_weights(policy: Policy) -> None:
    assert policy.acts
    assert policy.processor.world == SMALL


def test_a_policy_without_its_world_is_an_error(tmp_path: Path) -> None:
    acting.agent(tmp_path)
    (tmp_path / "world.json").unlink()
    with pytest.raises(SclvlmError, match=r"world\.json: expected the world that the policy acts in"):
        load_policy(str(tmp_path), device="cpu")


def test_nothing_that_comes_later_changes_a_logit(policy: Policy) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 7, 12, 12, 3), generator=generator, dtype=torch.uint8)
    actions = torch.randint(0, 4, (2, 7), generator=generator)
    with torch.no_grad():
        whole, cut = policy.model(frames, actions).logits, policy.model(frames[:, :5], actions[:, :5]).logits
        other = policy.model(frames, torch.cat([actions[:, :-1], 3 - actions[:, -1:]], 1)).logits
    torch.testing.assert_close(whole[:, :5], cut)
    torch.testing.assert_close(whole, other)  # the action chosen at a frame is not shown to who chooses it


def test_an_action_before_changes_a_logit(policy: Policy) -> None:
    frames = torch.zeros((1, 3, 12, 12, 3), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = (policy.model(frames, torch.tensor([[first, 0, 0]])).logits[0] for first in (0, 1))
    assert torch.equal(ours[0], theirs[0])
    assert not torch.allclose(ours[1], theirs[1])


def test_what_is_older_than_the_context_of_all_layers_is_forgotten(policy: Policy) -> None:
    # Two layers that look back 4 steps each, the present one among them, reach 1 + 2 * 3 frames.
    frames = torch.zeros((1, 9, 12, 12, 3), dtype=torch.uint8)
    changed = frames.clone()
    changed[:, 0] = 255
    actions = torch.zeros((1, 9), dtype=torch.long)
    with torch.no_grad():
        change = (policy.model(frames, actions).logits - policy.model(changed, actions).logits).abs().amax(-1)[0]
    assert (change[:7] > 0).all()
    assert (change[7:] == 0).all()


def test_what_is_played_is_scored_the_same_in_training(policy: Policy) -> None:
    openings = [opening(start) for start in (1, 2, 3, 4)]
    engine = WorldEngine(policy, seed=3, max_new_tokens=50, temperature=1.0)
    replies = [conversation[0] for conversation in engine.converse(openings, [])]
    records = [
        PreferencePair(
            id=each.id,
            prompt=[each.message],
            chosen=[text_message("assistant", reply.text)],
            rejected=[text_message("assistant", "south south")],
        )
        for each, reply in zip(openings, replies, strict=True)
    ]
    with torch.no_grad():
        scored = logps(policy.model, TrajectoryCollator(policy)(records))
    assert scored.sums[:, 0].tolist() == pytest.approx([reply.logp for reply in replies], abs=1e-4)
    assert scored.num_tokens[:, 0].tolist() == [reply.num_tokens for reply in replies]


def test_a_policy_acts_and_is_scored_in_bfloat16_too(tmp_path: Path) -> None:
    policy = load_policy(str(acting.agent(tmp_path)), dtype="bfloat16", device="cpu")
    ((reply,),) = WorldEngine(policy, seed=0, max_new_tokens=3, temperature=1.0).converse([opening(1)], [])
    with scoring(policy.model):
        scored = logps(policy.model, TrajectoryCollator(policy)(acting.pairs()))
    assert reply.num_tokens == 3
    assert scored.sums.dtype is torch.float32
    # Of four actions each, in nats: a random policy is not far from a fair die.
    assert (scored.sums / scored.num_tokens).mean().item() == pytest.approx(-np.log(4), abs=0.7)


def test_an_episode_whose_logits_are_not_finite_fails_with_the_remedy(tmp_path: Path) -> None:
    policy = load_policy(str(acting.agent(tmp_path)), dtype="float32", device="cpu")
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.fill_(torch.inf)
    with pytest.raises(
        SclvlmError, match=r"logits are not finite in float32\. Set model\.dtype to bfloat16 or float32"
    ):
        WorldEngine(policy, seed=0, max_new_tokens=3).converse([opening(1)], [])


def test_an_episode_does_not_depend_on_who_is_played_beside_it(policy: Policy) -> None:
    engine = WorldEngine(policy, seed=3, max_new_tokens=50, temperature=1.0)
    together = engine.converse([opening(1), opening(2, draw=1), opening(3)], [])
    alone = [engine.converse([each], [])[0] for each in (opening(1), opening(2, draw=1), opening(3))]
    assert [[reply.text for reply in replies] for replies in together] == [[r.text for r in each] for each in alone]


def test_a_policy_that_acts_reconsiders_nothing(policy: Policy) -> None:
    engine = WorldEngine(policy, seed=0, max_new_tokens=5)
    with pytest.raises(SclvlmError, match=r"set infer\.turns and evaluate\.turns to 1"):
        engine.converse([opening(1)], [text_message("user", "again?")])


@pytest.mark.parametrize(
    ("reached", "verdict"), [(0, Verdict.CORRECT), (2, Verdict.INCORRECT), (None, Verdict.UNPARSED)]
)
def test_the_exit_reached_is_what_is_graded(reached: int | None, verdict: Verdict) -> None:
    (sample,) = play.samples([7], preferred=0)
    assert sample.kind is AnswerKind.CHOICE
    assert grade(told([WEST, EAST], reached), sample).verdict is verdict


def test_a_scripted_player_that_never_slips_walks_the_shortest_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "SLIPS", 0.0)
    monkeypatch.setattr(play, "SHARES", (0.0, 0.0, 1.0))
    for start in range(20):
        actions, reached = play.play(BIG, start, seed=0)
        assert reached == EXITS.index("right exit")
        assert len(actions) == BIG.distances(start, BIG.exits[2])[BIG.layout(start).agent]


def test_the_files_of_play_share_no_start_and_are_the_same_each_time(tmp_path: Path) -> None:
    counts = play.Counts(4, 3, 2, 2)
    for name in ("once", "again"):
        play.write(tmp_path / name, 0, counts, seed=1, world=SMALL)
    files = [f"{key}.jsonl" for key in counts._asdict()] + ["card.md", "policy/world.json", "policy/model.safetensors"]
    assert all((tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    starts = [line for file in files[:4] for line in (tmp_path / "once" / file).read_text().splitlines()]
    assert len({line.split("start-")[1].split('"')[0] for line in starts}) == sum(counts)


def test_a_folder_of_play_that_is_there_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play.main(["--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "there already" in capsys.readouterr().out


def test_an_agent_goes_through_every_stage_of_a_run(tmp_path: Path) -> None:
    play.write(tmp_path / "data", 0, play.Counts(4, 2, 12, 6), seed=1, world=OPEN)
    ask = {"initial": "bare", "turns": 1, "temperature": 1.0}
    config = Config.model_validate(
        {
            "run": {"dir": str(tmp_path / "run")},
            "model": {"path": str(tmp_path / "data" / "policy"), "dtype": "float32", "device": "cpu"},
            "data": {"samples": f"{tmp_path}/data/train.jsonl", "test": f"{tmp_path}/data/test.jsonl"},
            "infer": {**ask, "draws": 8},
            "label": {"pairing": "independent", "unparsed": "rejected"},
            "train": {"lora": None, "args": {"max_steps": 2, "per_device_train_batch_size": 2}},
            "evaluate": ask,
            "report": {"resamples": 100},
        }
    )
    facts = run_stages(config, config.stages)
    assert facts[1]["count"] > 0
    assert facts[3].keys() >= {"stage", "before", "after"}
    assert "Options chosen before: none" in facts[4]["headline"]
    assert load_policy(facts[2]["model"], device="cpu").processor.world == OPEN


def test_a_policy_that_acts_is_told_to_train_without_samples_of_its_own(tmp_path: Path) -> None:
    collator = plain_collator(load_policy(str(acting.agent(tmp_path / "model"))), "auto", acting.pairs(), limit_gb=1.0)
    with pytest.raises(ConfigError, match=r"train\.loss: hypo .* Set train\.loss to dpo"):
        rollouts_of(collator, OnlineSection(), 0)
