"""What a frozen tower and projector make of pictures: computed once, kept on disk, given to the model as it is.

The models of transformers take a picture's features in place of its pixels (`mm_encoder_outputs`). Kept together are
the pictures of one record: how a picture is cut into tiles may depend on how many there are. A file is named after
everything that decides its content, so that runs and processes can share a folder of them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from sclvlm.errors import SclvlmError
from sclvlm.features.files import BY_LAYER, BoundedFolder, FeatureFiles, flat
from sclvlm.models import UNFIT, Policy, accepts, computing_dtype, rounding, scoring, unwrapped
from sclvlm.storage import file_hash

PIXELS = "pixel_"  # how the names of those inputs begin that the tower alone reads
KEPT = ("pooler_output", BY_LAYER)  # the fields that models read; the tower's hidden states would be many times larger
# Settings that don't change features: number types are told by the weights.
NEUTRAL = {"text_config", "_name_or_path", "architectures", "use_cache", "dtype", "transformers_version"}


def why_not_kept(model: Any) -> str | None:
    """Why the features of a picture can't be kept, as far as the model's make tells; None when nothing speaks
    against it. `why_not_exact` tells the rest. Wrappers of peft make no difference.
    """
    inner = unwrapped(model)
    tower = _tower(inner)
    if tower is None:
        return "it has no get_image_features"
    if not accepts(model, "mm_encoder_outputs"):
        return "its forward takes no mm_encoder_outputs in place of pixels"
    if words := [name for name in inspect.signature(tower).parameters if name.endswith("input_ids")]:
        return f"its features of a picture depend on the prompt's words ({words[0]})"
    return None if picture_weights(inner) else "its tower can't be told from its language model"


def why_not_cached(model: Any) -> str | None:
    """The same, where the model trains: features that change with each step can't be kept either."""
    if reason := why_not_kept(model):
        return reason
    weights = picture_weights(model)
    trained = next((name for name, tensor in weights.items() if tensor.requires_grad), None)
    return f"{trained} is trained, so the features change with each step" if trained else None


def why_not_exact(model: Any, pixels: Mapping[str, Any], features: Mapping[str, Any]) -> str | None:
    """How the model's next-token scores change with features for pixels; None when by no more than rounding.

    pixels, features: the model's inputs for the same rows, on its device, with the one and with the other.
    """
    with scoring(model):
        expected = _last_scores(model, pixels)
        try:
            found = _last_scores(model, features)
        except UNFIT as error:
            return f"it fails on kept features ({type(error).__name__}: {error})"
    gap = (found - expected).abs().mean().item()
    if gap <= rounding(model):
        return None
    return f"kept features change its log-probabilities by {gap:.2g} nat"


def _last_scores(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Log-probabilities of the token behind each row, float32 (rows, vocabulary)."""
    last = {"logits_to_keep": 1} if accepts(model, "logits_to_keep") else {}
    scores: Tensor = model(**inputs, **last, use_cache=False).logits[:, -1].float().log_softmax(-1)
    return scores


def picture_weights(model: Any) -> dict[str, Tensor]:
    """Parameters and buffers that only pictures pass through: all but those of the language model and its head."""
    inner = unwrapped(model)
    language = (inner.get_decoder(), inner.get_input_embeddings(), inner.get_output_embeddings())
    inside = {id(tensor) for module in language if module is not None for _, tensor in _tensors(module)}
    return {name: tensor for name, tensor in _tensors(inner) if id(tensor) not in inside}


def _tensors(module: Any) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _tower(inner: Any) -> Callable[..., Any] | None:
    """get_image_features, of the model without its head if there: there the signature names all it reads."""
    methods = (getattr(part, "get_image_features", None) for part in (getattr(inner, "model", None), inner))
    return next(filter(None, methods), None)


@contextmanager
def _without_language(inner: Any) -> Iterator[None]:
    """Raises SclvlmError when the tower asks the language model: its weights are not in the recipe, and may train."""

    def refuse(*_: Any) -> None:
        raise SclvlmError(
            f"{type(inner).__name__}: its features of a picture pass through the language model. "
            "Train without kept features."
        )

    parts = (inner.get_decoder(), inner.get_input_embeddings())
    with ExitStack() as hooks:
        for part in parts:
            hooks.callback(part.register_forward_pre_hook(refuse).remove)
        yield


def recipe(policy: Policy) -> str:
    """A hash of what makes features of pictures: weights, number types, model and processor settings."""
    inner = unwrapped(policy.model)
    described = {
        "transformers": transformers.__version__,
        "model": [type(inner).__name__, str(computing_dtype(policy.model)), _deciding(inner.config.to_dict())],
        # with all that it hands pictures to; its tokenizer and chat template are no part of its settings
        "processor": [type(policy.processor).__name__, _deciding(policy.processor.to_dict())],
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for name, tensor in sorted(picture_weights(inner).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` and those inside, without the ones that no picture depends on."""
    return {
        name: _deciding(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in NEUTRAL
    }


class FeatureCache:
    """Computes what is missing in a folder of features, which stays within `limit_gb` (`files.BoundedFolder`).

    `files` is what reads; keep this object for as long, it holds the claim.
    """

    def __init__(self, policy: Policy, folder: Path, *, limit_gb: float) -> None:
        self.files = FeatureFiles(folder)
        self.policy = policy
        self._recipe = recipe(policy)
        self._room = BoundedFolder(folder, limit_gb=limit_gb)

    def key(self, images: Sequence[str]) -> str:
        """What the features of the pictures at these paths, taken together, are called."""
        digest = hashlib.sha256(self._recipe.encode())
        for image in images:
            if not Path(image).is_file():
                raise SclvlmError(f"{image}: no such image. Put it there, or drop the record that names it.")
            digest.update(file_hash(Path(image)).encode())
        return digest.hexdigest()[:40]

    def ensure(self, images: Sequence[str], encoded: Callable[[], Mapping[str, Tensor]]) -> str:
        """The key of the features of one record's pictures, which are on disk when this returns.

        images: their paths. encoded: the processor's image tensors of that record alone, asked for only when the
        features are not there. Raises SclvlmError when the model's output can't be kept, or the folder not written.
        """
        key = self.key(images)
        self._room.claim(key)
        if not self.files.has(key):
            self._room.grown(self.files.write(key, self._computed(encoded())))
        return key

    def _computed(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with scoring(self.policy.model):
            kept = features_of(self.policy, images)
        return {path: tensor for name, value in kept.items() for path, tensor in flat(value, name)}


def features_of(policy: Policy, images: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """What the tower and projector make of one row's pictures (features), and the row's inputs beside pixels (inputs).

    images: the processor's image tensors of that row. `files.stand_in` makes the model's inputs of several rows.
    Raises SclvlmError when the model's output can't be kept.
    """
    inner = unwrapped(policy.model)
    tower = _tower(inner)
    assert tower is not None, "why_not_kept tells of a model without"
    read = inspect.signature(tower).parameters
    given = {name: tensor.to(policy.device) for name, tensor in images.items() if name in read}
    with _without_language(inner):
        output = tower(**given, return_dict=True)
    fields = {name: value for name in KEPT if (value := getattr(output, name, None)) is not None}
    if not fields:
        raise SclvlmError(f"{type(inner).__name__}: its tower returns no {KEPT[0]}. Train without kept features.")
    others = {name: tensor for name, tensor in images.items() if not name.startswith(PIXELS)}
    return {"features": fields, "inputs": others}
