"""Preference losses: one pure function each, from summed log-probabilities to a loss per prompt.

Shapes: P prompts with N completions, chosen first. Log-probabilities are sums over a completion's tokens, in
nats, float32. Every loss is called as

    loss(logps, ref_logps, num_tokens, *, beta, **its own hyperparameters)  # all (P, N), result (P,)

ignores what it does not need, and reduces nothing. `hyperparameters` says what is its own; what beta means is for
each loss to say. The losses of NEEDS_KL also want `kl`, which is measured and not chosen; those of NEEDS_SAMPLES
`sampled` and `ref_sampled`, the same sums of completions that the policy said itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pkgutil import resolve_name

from torch import Tensor

from sclvlm.errors import ConfigError
from sclvlm.losses.absolute import apo_down, apo_zero, kl_estimate, kto, nca, sppo
from sclvlm.losses.contrastive import dpo, exo, hinge, hybrid_dpo, ipo, ipo_sum, robust
from sclvlm.losses.measures import accuracy, rewards
from sclvlm.losses.online import hypo, reverse_kl_surrogate, sampled_kl
from sclvlm.losses.reference_free import cpo, orpo, sft, simpo
from sclvlm.losses.weighting import length_weights, wpo_weights

__all__ = [
    "LOSSES",
    "NEEDS_KL",
    "NEEDS_PAIRS",
    "NEEDS_REFERENCE",
    "NEEDS_SAMPLES",
    "READS_BETA",
    "Loss",
    "accuracy",
    "apo_down",
    "apo_zero",
    "cpo",
    "dpo",
    "exo",
    "hinge",
    "hybrid_dpo",
    "hyperparameters",
    "hypo",
    "ipo",
    "ipo_sum",
    "is_own",
    "kl_estimate",
    "kto",
    "length_weights",
    "loss_called",
    "nca",
    "needs_pairs",
    "needs_reference",
    "orpo",
    "reverse_kl_surrogate",
    "rewards",
    "robust",
    "sampled_kl",
    "sft",
    "simpo",
    "sppo",
    "wpo_weights",
]

Loss = Callable[..., Tensor]

LOSSES: dict[str, Loss] = {
    "dpo": dpo,
    "robust": robust,
    "ipo": ipo,
    "ipo_sum": ipo_sum,
    "hinge": hinge,
    "exo": exo,
    "hybrid_dpo": hybrid_dpo,
    "hypo": hypo,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "sppo": sppo,
    "nca": nca,
    "kto": kto,
    "orpo": orpo,
    "simpo": simpo,
    "cpo": cpo,
    "sft": sft,
}
NEEDS_REFERENCE = frozenset(LOSSES) - {"orpo", "simpo", "cpo", "sft"}
# kto can do with one completion where it is told whether that is a desirable one; of a pair it wants both.
NEEDS_PAIRS = frozenset(LOSSES) - {"sft"}
NEEDS_KL = frozenset({"kto"})
NEEDS_SAMPLES = frozenset({"hypo"})
READS_BETA = frozenset(LOSSES) - {"sft"}


def loss_called(name: str) -> Loss:
    """The loss called `name` in LOSSES, or one of your own, named `module:function`.

    Your own takes what all take, reads pairs, and is given a reference. Raises ConfigError where there is none such.
    """
    if name in LOSSES:
        return LOSSES[name]
    try:
        loss: Loss = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"train.loss: {name!r} is none of {', '.join(LOSSES)}, and no function can be imported by this name "
            f"({error}). Name one as module:function, with its module on the PYTHONPATH."
        ) from None
    return loss


def is_own(name: str) -> bool:
    """Whether `name` is that of a user's loss."""
    return ":" in name


def needs_reference(name: str) -> bool:
    """Whether the loss reads the reference's log-probabilities."""
    return name in NEEDS_REFERENCE or is_own(name)


def needs_pairs(name: str) -> bool:
    """Whether the loss reads two completions of a prompt."""
    return name in NEEDS_PAIRS or is_own(name)


def hyperparameters(name: str) -> dict[str, float]:
    """What the loss called `name` reads beside beta, each with its default; empty where there is nothing.

    They are the keyword arguments that have a number for a default. Raises ConfigError for a name that names none.
    """
    arguments = inspect.signature(loss_called(name)).parameters.items()
    return {argument: about.default for argument, about in arguments if isinstance(about.default, float)}
