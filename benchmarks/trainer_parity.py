"""Do our trainer and TRL's DPOTrainer take the same first step? `python -m benchmarks.trainer_parity`

Same weights, same pairs, float32 on the CPU, all pairs in one batch. Compared are the loss, the mean summed
log-probabilities, the mean margin and the norm of the gradient before clipping, once with fresh adapters and once
with fixed ones that set the policy apart from its reference. Chat templates put nothing behind the end of a turn
there; two more cases show where the trainers do differ, and account for the difference.

Exit code 1 when a figure is off.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from peft import get_peft_model
from transformers import TrainerCallback

from benchmarks import ours, peers
from benchmarks.geometries import Sizes, build, llama, llava, qwen, write_pairs
from sclvlm.errors import SclvlmError
from sclvlm.losses import dpo
from sclvlm.records import PreferencePair
from sclvlm.rendering import Renderer
from sclvlm.storage import read_records

LIMIT = 1e-4  # nats; for the norm a share of it
QUANTITIES = ("loss", "logps/chosen", "logps/rejected", "rewards/margins", "grad_norm")
PAIRS = 4
TINY = Sizes(
    width=64,
    inner=96,
    layers=2,
    vocabulary=112,
    heads=4,
    tower_width=32,
    tower_inner=48,
    tower_layers=3,
    tower_heads=2,
    pixels=56,
)
FAMILIES: dict[str, tuple[Any, int]] = {"LLaVA-1.5": (llava, 56), "Qwen2.5-VL": (qwen, 84), "Llama": (llama, 0)}
ADAPTERS = {"fresh": 0.0, "fixed": 0.05}


class Figure(NamedTuple):
    """One quantity on both sides. `off` is what is held against LIMIT: nats, or for the norm a share of it."""

    name: str
    ours: float
    peer: float
    off: float

    @property
    def good(self) -> bool:
        """Whether both sides agree; false also when either is not a number."""
        return self.off <= LIMIT


class Case(NamedTuple):
    """A line of the table."""

    title: str
    figures: list[Figure]

    @property
    def good(self) -> bool:
        """Whether every figure agrees."""
        return all(figure.good for figure in self.figures)


class FixedAdapters(TrainerCallback):
    """Before the first step, gives every adapter fixed weights: see `set_adapters`."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        set_adapters(model, self.scale)


def set_adapters(model: Any, scale: float) -> None:
    """Fill the adapters of `model` with normal numbers that depend on the order of their names alone.

    B gets the standard deviation `scale`: with 0 the policy is its reference. A gets what keeps its output near 1.
    """
    for number, (name, weight) in enumerate(sorted(_adapters(model).items())):
        spread = scale if "lora_B" in name else weight.shape[1] ** -0.5
        generator = torch.Generator().manual_seed(number)
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * spread)


def _adapters(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if "lora_" in name}


def compare(mine: Mapping[str, float], peer: Mapping[str, float]) -> list[Figure]:
    """QUANTITIES of two logs, side by side."""
    return [Figure(name, mine[name], peer[name], _off(name, mine[name], peer[name])) for name in QUANTITIES]


def _off(name: str, mine: float, peer: float) -> float:
    difference = abs(mine - peer)
    return difference / max(abs(peer), 1e-12) if name == "grad_norm" else difference


def table(cases: Sequence[Case]) -> str:
    """A line a case, which all have the same quantities: our figures, each with the deviation of the peer's."""
    width = max(len(case.title) for case in cases)
    head = f"{'case':{width}}" + "".join(f"  {figure.name:>18}" for figure in cases[0].figures)
    return "\n".join([head, *(_line(case, width) for case in cases)])


def _line(case: Case, width: int) -> str:
    figures = "".join(f"  {f'{figure.ours:.5f} ({figure.off:.0e})':>18}" for figure in case.figures)
    return f"{case.title:{width}}{figures}  {'ok' if case.good else 'OFF'}"


def first_step(model: Path, pairs: Path, folder: Path, scale: float) -> tuple[dict[str, float], dict[str, float]]:
    """The log of our first step and of TRL's."""
    settings: dict[str, Any] = {"max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": PAIRS}
    mine = ours.train(model, pairs, folder / "ours", callbacks=[FixedAdapters(scale)], **settings)
    peer = trl_step(model, pairs, folder / "peer", scale, **settings)
    return mine[0], peer


def trl_step(model: Path, pairs: Path, folder: Path, scale: float, **settings: Any) -> dict[str, float]:
    """The log of TRL's first step."""
    trainer = peers.trl_trainer(peers.load(model), pairs, folder, callbacks=[FixedAdapters(scale)], **settings)
    peers.trl_train(trainer)
    log: dict[str, float] = trainer.state.log_history[0]
    return log


def agreement(folder: Path) -> list[Case]:
    """Every family with fresh and with fixed adapters."""
    cases = []
    for family, (make, photo) in FAMILIES.items():
        place = folder / family
        model = build(make, place / "model", TINY)
        pairs = write_pairs(place, PAIRS, prompt=20, answer=None, photo=photo)
        for name, scale in ADAPTERS.items():
            mine, peer = first_step(model, pairs, place / name, scale)
            cases.append(Case(f"{family}, {name} adapters", compare(mine, peer)))
    return cases


class Scores(NamedTuple):
    """Summed log-probabilities (P, 2) up to the end of the turn, and of the one token behind it."""

    sums: torch.Tensor
    behind: torch.Tensor


def score(model: Any, renderer: Renderer, pairs: Sequence[PreferencePair], behind: str) -> Scores:
    """Both by the plainest means: one row at a time, no padding, all positions; text only."""
    (extra,) = renderer.tokens(behind)
    sums, tails = [], []
    for pair in pairs:
        prompt = renderer.tokens(renderer.text(pair.prompt, reply=True))
        for completion in pair.completions:
            reply = [*renderer.completion(pair.prompt, completion), extra]
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1]
            each = logits.double().log_softmax(-1)[torch.arange(len(reply)), torch.tensor(reply)]
            sums.append(each[:-1].sum())
            tails.append(each[-1])
    return Scores(torch.stack(sums).view(-1, 2), torch.stack(tails).view(-1, 2))


def newline_case(folder: Path) -> list[Case]:
    """TRL scores what a template puts behind the end of a turn, though the model has stopped writing there."""
    scale = ADAPTERS["fixed"]
    model = build(llama, folder / "model", TINY, behind="\n")
    pairs = write_pairs(folder, PAIRS, prompt=20, answer=None, photo=0)
    mine, peer = first_step(model, pairs, folder, scale)
    policy, reference = _policy_and_reference(model, pairs, scale)
    longer, ref_longer = policy.sums + policy.behind, reference.sums + reference.behind  # (P, 2)
    ratio = longer - ref_longer
    accounted = {
        "loss": dpo(longer, ref_longer, torch.ones(1), beta=peers.BETA).mean().item(),
        "logps/chosen": mine["logps/chosen"] + policy.behind[:, 0].mean().item(),
        "logps/rejected": mine["logps/rejected"] + policy.behind[:, 1].mean().item(),
        "rewards/margins": peers.BETA * (ratio[:, 0] - ratio[:, 1]).mean().item(),
    }
    print(
        "\nWith a newline behind the end of a turn, as in ChatML, TRL counts that newline as part of the answer.\n"
        "Each of its sums is longer by the log-probability of one token that the model never has to write:\n"
        f"  chosen   {mine['logps/chosen']:.5f} ours, {peer['logps/chosen']:.5f} TRL, "
        f"newline {policy.behind[:, 0].mean():.5f}\n"
        f"  rejected {mine['logps/rejected']:.5f} ours, {peer['logps/rejected']:.5f} TRL, "
        f"newline {policy.behind[:, 1].mean():.5f}\n"
        "Ours with that token added (its loss and margin from a third, plain computation) against TRL's:"
    )
    names = [name for name in QUANTITIES if name in accounted]
    figures = [Figure(name, accounted[name], peer[name], abs(accounted[name] - peer[name])) for name in names]
    return [Case("Llama, newline added", figures)]


def _policy_and_reference(model: Path, pairs: Path, scale: float) -> tuple[Scores, Scores]:
    policy = peers.load(model)
    with peers.quiet():
        adapted = get_peft_model(policy.model, peers.lora_config(policy.model)).eval()
    set_adapters(adapted, scale)
    records, renderer = list(read_records(pairs, PreferencePair)), Renderer(policy)
    scored = score(adapted, renderer, records, "\n")
    with adapted.disable_adapter():
        return scored, score(adapted, renderer, records, "\n")


def truncation_case(folder: Path) -> list[Case]:
    """TRL cuts answers off at max_length, also whole ones when there are images; we leave such records out."""
    model = build(llava, folder / "model", TINY)
    pairs = write_pairs(folder, PAIRS, prompt=20, answer=None, photo=56)
    cut = 1 + 16 + 20 + 2  # role, 4 x 4 patches, question, its end, role: the answer begins behind
    settings = {"max_steps": 1, "logging_steps": 1, "per_device_train_batch_size": PAIRS}
    peer = trl_step(model, pairs, folder / "peer", ADAPTERS["fixed"], max_length=cut, **settings)
    print(
        f"\nWith images and max_length={cut}, where the prompt ends, TRL trains on rows without an answer, silently:\n"
        "the loss is log 2, the gradient zero. We leave such records out and count them, and stop when none is\n"
        f"left: {_refusal(model, pairs, folder / 'ours', cut)}"
    )
    figures = [("loss", math.log(2)), ("logps/chosen", 0.0), ("logps/rejected", 0.0), ("grad_norm", 0.0)]
    return [Case("LLaVA-1.5, cut", [Figure(name, want, peer[name], abs(want - peer[name])) for name, want in figures])]


def _refusal(model: Path, pairs: Path, folder: Path, length: int) -> str:
    try:
        ours.train(model, pairs, folder, changed={"max_length": length})
    except SclvlmError as error:
        return str(error)
    raise SclvlmError(f"records longer than max_length={length} were trained on. They must be left out.")


def main(cases: Sequence[Callable[[Path], list[Case]]] = (agreement, newline_case, truncation_case)) -> int:
    """Print the table of each of `cases`; 0 when every figure agrees, else 1."""
    with tempfile.TemporaryDirectory() as folder:
        results = [_shown(make(Path(folder) / make.__name__)) for make in cases]
    good = all(case.good for result in results for case in result)
    print(f"\n{'All figures agree' if good else 'A figure is off'} (limit {LIMIT:g}; in brackets the deviation).")
    return 0 if good else 1


def _shown(cases: list[Case]) -> list[Case]:
    print(table(cases))
    return cases


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    logging.getLogger("sclvlm").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    print(f"ours against TRL {peers.version()}\n")
    raise SystemExit(main())
