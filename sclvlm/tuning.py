"""Which parts of a model train, and how: each of language model, projector and image encoder frozen, by LoRA, or whole.

What trains is float32, however the model computes: an optimizer's steps lie below the resolution of bfloat16. Where an
adapter can hold all that was trained, one is made: parts that train whole are then copies inside it. A fully trained
language model trains in place, and so does what trains beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from peft import LoraConfig, PeftModel, PeftType, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from sclvlm.errors import ConfigError
from sclvlm.features import picture_weights
from sclvlm.models import computing_dtype, peft_warnings_hidden, unwrapped, with_adapter
from sclvlm.parts import Part, Way, holds_all, part_of

CALLED = {"language": "language model", "projector": "projector", "vision": "image encoder"}
LINEAR = (nn.Linear, Conv1D)
LISTS = (nn.ModuleList, nn.ModuleDict)  # no forward of their own: peft can't put a copy in their place


class Lora(NamedTuple):
    """Low-rank updates W + s * B A, s = alpha / rank (arXiv 2106.09685).

    rslora: s = alpha / sqrt(rank) (arXiv 2312.03732). dora: the update turns W, and a trained magnitude scales each of
    its rows (arXiv 2402.09353). targets: endings of the names of the language model's linear layers that are adapted;
    of the other parts all are.
    """

    rank: int
    alpha: int
    dropout: float
    targets: Sequence[str]
    dora: bool = False
    rslora: bool = False


def tune(
    model: Any,
    lora: Lora | None,
    *,
    language: Way = "lora",
    projector: Way = "frozen",
    vision: Way = "frozen",
    adapter: str | None = None,
) -> Any:
    """`model`, a bare one, made trainable in place; what it starts from, an adapter's directory, is part of it.

    An adapter is trained further where the result is an adapter, and folded in where it is a model (`holds_all`).
    Raises ConfigError when the model lacks a part that shall train, has no layer that could be adapted, or when
    `adapter` is of another form than `lora`.
    """
    ways: dict[Part, Way] = {"language": language, "projector": projector, "vision": vision}
    _check_parts(model, ways)
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    model.computing_dtype = computing_dtype(model)
    if adapter is not None and not holds_all(ways):
        model, adapter = _folded(model, adapter), None
    # For quantized models too: peft's preparation of them would make float32 of all that is not quantized.
    model.requires_grad_(False)
    _keep_still(model, ways)
    if not holds_all(ways):
        for name in _whole(model, ways):
            model.get_parameter(name).requires_grad_(True)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and parameter.dtype != dtypes[name]:
            parameter.data = parameter.data.to(dtypes[name])  # folding has changed it
    adapted = _adapted(model, ways, lora, adapter) if "lora" in ways.values() else model
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def frozen_copy(model: Any) -> Any:
    """What `model` is now, whatever is trained later: in eval mode, and sharing what doesn't train.

    It takes the memory of what trains, in float32, once more.
    """
    tensors = chain(model.parameters(), model.buffers())
    kept = {id(tensor): tensor for tensor in tensors if not tensor.requires_grad}
    return deepcopy(model, kept).requires_grad_(False).eval()


def _check_parts(model: Any, ways: Mapping[Part, Way]) -> None:
    there = {part_of(name) for name, _ in model.named_parameters()}
    for part in ("projector", "vision"):
        if ways[part] != "frozen" and part not in there:
            raise ConfigError(
                f"train.{part}: this model has no {CALLED[part]} that could be trained. Set it to frozen."
            )


def _folded(model: Any, adapter: str) -> Any:
    """The bare model with the adapter's update added to its weights, in float32: rounding would lose some of it."""
    return with_adapter(model.float(), adapter).merge_and_unload()


def _keep_still(model: Any, ways: Mapping[Part, Way]) -> None:
    """Take parts that don't train out of training mode for good, and batch norms everywhere.

    They stay in eval mode whatever `model.train()` says: the running statistics of a batch norm must not move, and
    a policy that is normed by its batch would not be the reference before its first step.
    """
    for name, module in model.named_modules():
        part = part_of(name)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) or (part == "vision" and ways[part] == "frozen"):
            module.training = False
            module.train = partial(_only_below, module)
            if isinstance(module, PreTrainedModel):
                # Checkpointing makes the output of a model's input embeddings ask for a gradient, if it has any: it
                # would be carried back through a tower that needs none.
                module.get_input_embeddings = _nothing


def _only_below(module: nn.Module, mode: bool = True) -> nn.Module:
    for child in module.children():
        child.train(mode)
    return module


def _nothing() -> None:
    return None


def _whole(model: Any, ways: Mapping[Part, Way]) -> Iterator[str]:
    """Names of the parameters that train in place."""
    pictures = picture_weights(model)
    for name, _ in model.named_parameters():
        part = part_of(name)
        if part == "language" and name in pictures:
            continue  # such as the embedding of a line's end in LLaVA-NeXT: of no part
        if ways[part] == "full":
            yield name


def _adapted(model: Any, ways: Mapping[Part, Way], lora: Lora | None, adapter: str | None) -> PeftModel:
    assert lora is not None, "the config has asked for it"
    layers = [name for part, way in ways.items() if way == "lora" for name in _layers(model, part, lora.targets)]
    copies = [name for part, way in ways.items() if way == "full" for name in _blocks(model, part)]
    if not holds_all(ways):
        copies = []  # they train in place
    if adapter is not None:
        return _continued(with_adapter(model, adapter, trainable=True), adapter, lora, layers, copies)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=layers,
        modules_to_save=copies or None,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in layers),
    )
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with peft_warnings_hidden():
        adapted = get_peft_model(model, config)
    for parameter in learning:  # peft freezes what it is put on
        parameter.requires_grad_(True)
    return adapted


def _layers(model: Any, part: Part, targets: Sequence[str]) -> list[str]:
    """Names of the linear layers of `part` that are adapted. Raises ConfigError when there are none."""
    endings = tuple(f".{target}" for target in targets)
    linear = [
        name
        for name, module in model.named_modules()
        # torch's own attention reads the weights of its layers past them
        if isinstance(module, LINEAR) and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
        if part_of(name) == part and (part != "language" or f".{name}".endswith(endings))
    ]
    if not linear and part == "language":
        raise ConfigError(f"train.lora.targets: no linear layer of the language model ends in {', '.join(endings)}.")
    if not linear:
        raise ConfigError(f"train.{part}: the {CALLED[part]} has no linear layer to adapt. Set it to full or frozen.")
    return linear


def _blocks(model: Any, part: Part) -> list[str]:
    """Names of the largest modules that hold parameters, and all of them of `part`."""
    return list(_blocks_in(model, "", part))


def _blocks_in(module: nn.Module, name: str, part: Part) -> Iterator[str]:
    parts = {part_of(f"{name}.{inner}") for inner, _ in module.named_parameters()}
    if parts == {part} and not isinstance(module, LISTS):
        yield name
    elif part in parts:
        for key, child in module.named_children():
            yield from _blocks_in(child, f"{name}.{key}".lstrip("."), part)


def _continued(model: PeftModel, adapter: str, lora: Lora, layers: Sequence[str], copies: Sequence[str]) -> PeftModel:
    """The loaded adapter, trainable and with the wanted dropout, if it has the wanted form."""
    (name,) = model.active_adapters
    config = model.peft_config[name]
    if config.peft_type != PeftType.LORA:
        raise ConfigError(f"model.adapter {adapter!r}: only LoRA can be trained further, this is {config.peft_type}.")
    inner = unwrapped(model)
    found = {key: module for key, module in inner.named_modules() if isinstance(module, LoraLayer)}
    saved = {key.removesuffix(".modules_to_save") for key, _ in inner.named_modules() if _is_copy(key)}
    shape = {
        "lora.rank": (config.r, lora.rank),
        "lora.alpha": (config.lora_alpha, lora.alpha),
        "lora.dora": (config.use_dora, lora.dora),
        "lora.rslora": (config.use_rslora, lora.rslora),
        "lora.targets": (sorted(found), sorted(layers)),
        "projector and train.vision": (sorted(saved), sorted(copies)),
    }
    for key, (has, wanted) in shape.items():
        if has != wanted:
            raise ConfigError(
                f"train.{key}: model.adapter {adapter!r} is of another form: it has {_shown(has, wanted)}, asked for: "
                f"{_shown(wanted, has)}. It is trained further as it is: ask for the same, or fold it into a model "
                "first (train.merge) and start from that."
            )
    for layer in found.values():
        layer.lora_dropout[name] = nn.Dropout(lora.dropout) if lora.dropout else nn.Identity()
    config.lora_dropout = lora.dropout
    return model


def _is_copy(name: str) -> bool:
    return name.endswith(".modules_to_save")


def _shown(mine: Any, other: Any) -> str:
    """A value, or of a list what only it has."""
    if not isinstance(mine, list):
        return str(mine)
    only = [each for each in mine if each not in other]
    return ", ".join(only[:2]) + (f" and {len(only) - 2} more" if len(only) > 2 else "") if only else "none of these"
