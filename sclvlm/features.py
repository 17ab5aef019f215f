"""What a frozen tower and projector make of pictures: computed once, kept on disk, given to the model as it is.

The models of transformers take a picture's features in place of its pixels (`mm_encoder_outputs`). Kept together are
the pictures of one record: how a picture is cut into tiles may depend on how many there are. A file is named after
everything that decides its content, so that runs and processes can share a folder of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sclvlm.errors import SclvlmError
from sclvlm.models import UNFIT, Policy, accepts, rounding, scoring, unwrapped
from sclvlm.storage import file_hash, partial_path

log = logging.getLogger(__name__)

PIXELS = "pixel_"  # how the names of those inputs begin that the tower alone reads
BY_LAYER = "deepstack_features"  # a list of layers; in each, as in all other fields, pictures follow one another
KEPT = ("pooler_output", BY_LAYER)  # the fields that models read; the tower's hidden states would be many times larger
# Settings that don't change features: number types are told by the weights.
NEUTRAL = {"text_config", "_name_or_path", "architectures", "use_cache", "dtype", "transformers_version"}
GB = 10**9
STALE = 3600.0  # seconds after which nobody is still writing a file, or about to lock one


class Features(dict[str, Any]):
    """The fields of a tower's output that a model reads, as attributes too.

    No ModelOutput, since that refuses `update`, by which torch pins the memory of a batch.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"of a picture's features only {', '.join(self)} are kept, not {name}") from None


def cache_folder() -> Path:
    """Where features are kept: features/ in $SCLVLM_CACHE, else $XDG_CACHE_HOME/sclvlm, else ~/.cache/sclvlm."""
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("SCLVLM_CACHE") or f"{shared}/sclvlm").expanduser() / "features"


def why_not_cached(model: Any) -> str | None:
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
    if not (weights := picture_weights(inner)):
        return "its tower can't be told from its language model"
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
        "model": [type(inner).__name__, str(policy.model.dtype), _deciding(inner.config.to_dict())],
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


@dataclass(frozen=True)
class FeatureFiles:
    """The files of a folder, one a record's pictures. Holds no open file and no tensor: workers may have a copy."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the features called `key` are kept."""
        return self.folder / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether `key` is there and whole; if so it counts as used now."""
        try:
            with safe_open(self.path(key), "pt"):  # compares the size of the file with what its head announces
                _touch(self.path(key))
        except (OSError, SafetensorError):
            return False
        return True

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> int:
        """Keep `tensors` as `key`, which appears whole or not at all. Returns the bytes that takes."""
        path = self.path(key)
        partial = partial_path(path)
        try:
            save_file(dict(tensors), partial)
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:
            raise SclvlmError(
                f"{path}: can't keep the features of a record's pictures ({error}). "
                "Make room there, or train without kept features."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return path.stat().st_size

    def read(self, key: str) -> dict[str, Any]:
        """Fields and other inputs as `FeatureCache` wrote them, mapped into memory rather than copied."""
        path = self.path(key)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise SclvlmError(
                f"{path}: the features of a record's pictures are gone or broken ({error}). "
                "Start the command again: what is missing is computed anew."
            ) from error
        _touch(path)
        return _nested(tensors)

    def batch(self, keys: Sequence[str]) -> dict[str, Any]:
        """The model's inputs for the pictures of the rows with pictures, `keys` in the order of these rows.

        mm_encoder_outputs: the features; beside them what the model reads of pictures without looking at their
        pixels, such as their sizes. Nothing when there are no keys.
        """
        if not keys:
            return {}
        kept = {key: self.read(key) for key in dict.fromkeys(keys)}
        rows = [kept[key] for key in keys]
        others = {name: _joined([row["inputs"][name] for row in rows]) for name in rows[0].get("inputs", {})}
        fields = {name: [row["features"][name] for row in rows] for name in rows[0]["features"]}
        image = Features({name: _merged(name, values) for name, values in fields.items()})
        return {**others, "mm_encoder_outputs": {"image": image}}


def _touch(path: Path) -> None:
    with suppress(OSError):  # another user's file can be read though not touched
        os.utime(path)


def _merged(name: str, values: Sequence[Any]) -> Any:
    return [_joined(layer) for layer in zip(*values, strict=True)] if name == BY_LAYER else _joined(values)


def _joined(values: Sequence[Any]) -> Any:
    """What stands for the pictures of several rows: tensors along their first dimension, lists behind one another."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [each for value in values for each in value]


def _flat(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested mappings, lists and tuples, each under the path to it."""
    if isinstance(value, Tensor):
        yield name, value.detach().cpu().clone(memory_format=torch.contiguous_format)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _flat(each, f"{name}.{index}")
    else:
        raise SclvlmError(
            f"{name}: a tower's output must be made of tensors to be kept, got {type(value).__name__}. "
            "Train without kept features."
        )


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `_flat` took apart; tuples come back as lists."""
    root: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, last = name.split(".")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = tensor
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if all(name.isdigit() for name in value):
        return [_listed(value[name]) for name in sorted(value, key=int)]
    return {name: _listed(each) for name, each in value.items()}


class FeatureCache:
    """Computes what is missing in a folder of features, and keeps the folder's size within bounds.

    limit_gb: in 10^9 bytes. What was not used for longest goes first; what a living run has asked for stays, also
    where that is more than the limit. `files` is what reads; keep this object for as long, it holds the claim.
    """

    def __init__(self, policy: Policy, folder: Path, *, limit_gb: float) -> None:
        self.files = FeatureFiles(folder)
        self.policy, self.limit = policy, limit_gb * GB
        self._recipe = recipe(policy)
        self._claim = _claim(self, folder)
        self._size = sum(size for _, size, _ in _by_age(folder))
        self._bounded = True

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
        os.write(self._claim, f"{key}\n".encode())
        if not self.files.has(key):
            self._size += self.files.write(key, self._computed(encoded()))
            if self._bounded and self._size > self.limit:
                self._shrink()
        return key

    def _computed(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        model, inner = self.policy.model, unwrapped(self.policy.model)
        tower = _tower(inner)
        assert tower is not None, "why_not_cached tells of a model without"
        read = inspect.signature(tower).parameters
        given = {name: tensor.to(self.policy.device) for name, tensor in images.items() if name in read}
        with scoring(model), _without_language(inner):
            output = tower(**given, return_dict=True)
        fields = {name: value for name in KEPT if (value := getattr(output, name, None)) is not None}
        if not fields:
            raise SclvlmError(f"{type(inner).__name__}: its tower returns no {KEPT[0]}. Train without kept features.")
        others = {name: tensor for name, tensor in images.items() if not name.startswith(PIXELS)}
        kept = {"features": fields, "inputs": others}
        return {path: tensor for name, value in kept.items() for path, tensor in _flat(value, name)}

    def _shrink(self) -> None:
        folder = self.files.folder
        claimed = _claimed(folder)
        files = _by_age(folder)
        self._size = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._size <= self.limit:
                return
            if path.stem not in claimed:
                path.unlink(missing_ok=True)  # another run may be shrinking the folder too
                self._size -= size
        if self._size > self.limit:
            self._bounded = False
            log.warning("%s: running trainings need more than the limit of %.3g GB", folder, self.limit / GB)


def _by_age(folder: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, path) of the features in `folder`, longest unused first; removes what killed runs left."""
    for partial in folder.glob(".*.partial"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > STALE:
                partial.unlink()
    found = []
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    return sorted(found)


def _claim(owner: object, folder: Path) -> int:
    """A new file for the keys that `owner` uses, locked for as long as it lives, however its process ends."""
    path = folder / f"{uuid4().hex}.run"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    except OSError as error:
        raise SclvlmError(f"{folder}: can't keep features of pictures there ({error}). Name another folder.") from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    weakref.finalize(owner, _release, descriptor, path, os.getpid())
    return descriptor


def _release(descriptor: int, path: Path, owner: int) -> None:
    os.close(descriptor)
    if os.getpid() == owner:  # not in a forked worker
        path.unlink(missing_ok=True)


def _claimed(folder: Path) -> set[str]:
    """The keys that living runs use, this one's among them."""
    keys: set[str] = set()
    for path in folder.glob("*.run"):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                keys.update(file.read().split())
                continue
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
    return keys
