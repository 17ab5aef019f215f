"""Features are computed once, found again by what made them, and their folder stays within its bound."""

from __future__ import annotations

import copy
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import Trainer

from sclvlm.collation import logps, token_logps
from sclvlm.errors import SclvlmError
from sclvlm.features import FeatureCache
from sclvlm.features.files import GB, FeatureFiles, Features, cache_folder
from sclvlm.models import Policy, scoring
from sclvlm.records import PreferencePair
from tests import families
from tests.pictured import ROOMY, SEEING, adapted, both, kept, never, pair

Change = Callable[[Any], Any]


@pytest.fixture(name="seen", params=SEEING)
def seeing(request: pytest.FixtureRequest) -> Policy:
    return adapted(request.param)


@pytest.fixture
def pairs(shapes: list[str]) -> list[PreferencePair]:
    """Three pairs, about one, two and one picture."""
    return [pair(shapes[2]), pair(*shapes[:2]), pair(shapes[1])]


@pytest.fixture(name="cached")
def cached_features(tmp_path: Path) -> FeatureCache:
    """An empty cache for a LLaVA."""
    return FeatureCache(adapted("llava"), tmp_path / "features", limit_gb=ROOMY)


class Look(NamedTuple):
    """How the tower looked once."""

    training: bool
    learning: bool


@pytest.fixture(name="looks")
def looks_at(cached: FeatureCache) -> Iterator[list[Look]]:
    looks: list[Look] = []
    tower = cached.policy.model.get_base_model().model.vision_tower
    handle = tower.register_forward_hook(lambda *_: looks.append(Look(tower.training, torch.is_grad_enabled())))
    yield looks
    handle.remove()


def test_the_tower_looks_once_at_a_records_pictures(cached: FeatureCache, looks: list[Look], shapes: list[str]) -> None:
    kept(cached, *shapes)
    cached.ensure(shapes, never)
    assert len(looks) == 1


def test_another_run_neither_processes_nor_looks(cached: FeatureCache, looks: list[Look], shapes: list[str]) -> None:
    kept(cached, shapes[0])
    bounded(cached, GB).ensure(shapes[:1], never)
    assert len(looks) == 1


@torch.no_grad()
def test_a_step_with_kept_features_does_not_look(
    cached: FeatureCache, looks: list[Look], pairs: list[PreferencePair], tmp_path: Path
) -> None:
    _, features = both(cached.policy, pairs, tmp_path)
    looks.clear()
    logps(cached.policy.model, features)
    assert not looks


def test_the_tower_looks_as_if_it_never_trained(cached: FeatureCache, looks: list[Look], shapes: list[str]) -> None:
    cached.policy.model.train()
    kept(cached, shapes[0])
    assert cached.policy.model.training
    cached.policy.model.eval()
    assert looks == [Look(training=False, learning=False)]


def test_half_precision_is_kept_exactly(pairs: list[PreferencePair], tmp_path: Path) -> None:
    bare = families.build("llava")
    policy = Policy(bare.model.to(torch.bfloat16), bare.processor, bare.ref)
    pixels, features = both(policy, pairs, tmp_path)
    kinds = {each.dtype for each in features["inputs"]["mm_encoder_outputs"]["image"].pooler_output}
    assert kinds == {torch.bfloat16}
    with scoring(policy.model):
        assert torch.equal(token_logps(policy.model, pixels), token_logps(policy.model, features))


def test_a_tower_that_asks_the_language_model_is_refused(
    shapes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = families.build("llava")
    words = policy.model.get_input_embeddings()
    monkeypatch.setattr(policy.model.model, "get_image_features", lambda pixel_values, **_: words(torch.tensor([0])))
    with pytest.raises(SclvlmError, match="pass through the language model"):
        kept(FeatureCache(policy, tmp_path, limit_gb=ROOMY), shapes[0])


@pytest.mark.parametrize(("output", "reason"), [({}, "returns no pooler_output"), ([3], "made of tensors")])
def test_an_output_that_cant_be_kept_is_refused(
    output: Any, reason: str, shapes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = families.build("llava")
    fields = Features(pooler_output=output) if output else Features()
    monkeypatch.setattr(policy.model.model, "get_image_features", lambda pixel_values, **_: fields)
    with pytest.raises(SclvlmError, match=reason):
        kept(FeatureCache(policy, tmp_path, limit_gb=ROOMY), shapes[0])


def test_the_order_of_pictures_makes_another_key(cached: FeatureCache, shapes: list[str]) -> None:
    assert cached.key(shapes[:2]) != cached.key(shapes[1::-1])


def test_other_bytes_under_the_same_name_make_another_key(cached: FeatureCache, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(path)
    before = cached.key([str(path)])
    Image.new("RGB", (8, 8), "lime").save(path)
    assert cached.key([str(path)]) != before


def test_the_same_bytes_under_another_name_make_the_same_key(
    cached: FeatureCache, shapes: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "copy.png"
    path.write_bytes(Path(shapes[0]).read_bytes())
    assert cached.key([str(path)]) == cached.key(shapes[:1])


def key_of(policy: Policy, folder: Path, shapes: list[str]) -> str:
    return FeatureCache(policy, folder, limit_gb=ROOMY).key(shapes[:1])


@torch.no_grad()
def _move(weight: Tensor) -> None:
    weight.flatten()[-1] += 1e-3


CHANGES: dict[str, Change] = {
    "tower": lambda policy: _move(next(policy.model.model.vision_tower.parameters())),
    "projector": lambda policy: _move(policy.model.model.multi_modal_projector.linear_2.bias),
    "separator": lambda policy: _move(policy.model.model.image_newline),
    "number type": lambda policy: policy.model.to(torch.bfloat16),
    "layer": lambda policy: setattr(policy.model.config, "vision_feature_layer", -1),
    "processing": lambda policy: setattr(policy.processor.image_processor, "do_rescale", False),
    "means": lambda policy: setattr(policy.processor.image_processor, "image_mean", [0.5, 0.5, 0.5]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_features_makes_another_key(change: str, shapes: list[str], tmp_path: Path) -> None:
    policy = families.build("llava_next")
    before = key_of(policy, tmp_path, shapes)
    CHANGES[change](policy)
    assert key_of(policy, tmp_path, shapes) != before


def test_adapters_of_the_language_model_leave_the_key(seen: Policy, shapes: list[str], tmp_path: Path) -> None:
    assert key_of(seen, tmp_path, shapes) == key_of(families.build(seen.ref.path), tmp_path, shapes)


def test_a_model_saved_elsewhere_has_the_same_key(shapes: list[str], tmp_path: Path) -> None:
    policy = families.build("llava")
    policy.model.save_pretrained(tmp_path / "model")
    again = type(policy.model).from_pretrained(tmp_path / "model")
    copied = Policy(again.eval(), policy.processor, policy.ref)
    assert key_of(copied, tmp_path, shapes) == key_of(policy, tmp_path, shapes)


def test_a_picture_that_is_not_there_is_named(cached: FeatureCache) -> None:
    with pytest.raises(SclvlmError, match=r"absent\.png: no such image"):
        cached.ensure(["absent.png"], never)


BREAKS: dict[str, Change] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_computed_anew(
    broken: str, cached: FeatureCache, looks: list[Look], shapes: list[str]
) -> None:
    path = cached.files.path(kept(cached, shapes[0]))
    whole = path.read_bytes()
    BREAKS[broken](path)
    kept(cached, shapes[0])
    assert (len(looks), path.read_bytes()) == (2, whole)


@pytest.mark.parametrize("broken", BREAKS)
def test_a_file_that_breaks_while_training_is_named(broken: str, cached: FeatureCache, shapes: list[str]) -> None:
    key = kept(cached, shapes[0])
    BREAKS[broken](cached.files.path(key))
    with pytest.raises(SclvlmError, match=f"{key}.*gone or broken.*Start the command again"):
        cached.files.batch([key])


def test_a_failed_write_leaves_nothing_and_says_where(
    cached: FeatureCache, shapes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SclvlmError, match=r"features.*can't keep.*No space left"):
        kept(cached, shapes[0])
    assert [path.suffix for path in cached.files.folder.iterdir()] == [".run"]


def bounded(cached: FeatureCache, bound: float) -> FeatureCache:
    """Another run with the folder, which may take `bound` bytes."""
    return FeatureCache(cached.policy, cached.files.folder, limit_gb=bound / GB)


def used(other: FeatureCache, shapes: Sequence[str]) -> list[Path]:
    """The files of a run that used each of `shapes`, the first longest ago. LLaVA's have all one size."""
    paths = [other.files.path(kept(other, shape)) for shape in shapes]
    for hours, path in enumerate(reversed(paths), start=1):
        os.utime(path, (time.time() - hours * 3600,) * 2)
    return paths


def test_what_was_not_used_for_longest_goes(cached: FeatureCache, shapes: list[str]) -> None:
    paths = used(bounded(cached, GB), shapes[:2])  # that run has ended
    small = bounded(cached, sum(path.stat().st_size for path in paths))
    new = small.files.path(kept(small, shapes[2]))
    assert [path.exists() for path in (*paths, new)] == [False, True, True]


def test_using_features_makes_them_young(cached: FeatureCache, shapes: list[str]) -> None:
    paths = used(bounded(cached, GB), shapes[:2])
    cached.files.batch([paths[0].stem])
    kept(bounded(cached, sum(path.stat().st_size for path in paths)), shapes[2])
    assert [path.exists() for path in paths] == [True, False]


def test_what_this_run_uses_stays_whatever_the_bound(
    cached: FeatureCache, shapes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    paths = used(bounded(cached, 1), shapes)
    assert all(path.exists() for path in paths)
    assert ["need more than the limit" in each.getMessage() for each in caplog.records] == [True]


def test_what_another_living_run_uses_stays(cached: FeatureCache, shapes: list[str]) -> None:
    paths = used(cached, shapes[:2])
    kept(bounded(cached, 1), shapes[2])
    assert all(path.exists() for path in paths)


def test_a_run_that_was_killed_keeps_nothing_back(cached: FeatureCache, shapes: list[str]) -> None:
    (path,) = used(bounded(cached, GB), shapes[:1])
    (path.parent / "killed.run").write_text(f"{path.stem}\n")  # nobody holds its lock
    kept(bounded(cached, 1), shapes[1])
    assert not path.exists()


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SclvlmError, match=r"file/features: can't keep .*Name another folder"):
        FeatureCache(adapted("llava"), tmp_path / "file" / "features", limit_gb=ROOMY)


def test_what_killed_runs_left_is_removed(cached: FeatureCache) -> None:
    left = cached.files.folder / ".x.safetensors.1.partial"
    fresh = cached.files.folder / ".y.safetensors.2.partial"
    for path in (left, fresh):
        path.write_bytes(b"x")
    os.utime(left, (0, 0))
    bounded(cached, 1)
    assert (left.exists(), fresh.exists()) == (False, True)


def same(one: Any, other: Any) -> bool:
    """Whether two nested inputs have the same classes of mappings and the same tensors."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return type(one) is type(other) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))


class _Loaded(NamedTuple):
    """A data set of one batch."""

    files: FeatureFiles
    keys: list[str]

    def __getitem__(self, index: Any) -> Any:
        return self.files.batch(self.keys)


@pytest.fixture(name="loaded", params=["fast_vlm", "llava", "qwen3_vl"])  # a tensor, a list, lists in a list
def loaded_features(request: pytest.FixtureRequest, pairs: list[PreferencePair], tmp_path: Path) -> _Loaded:
    features = FeatureCache(adapted(request.param), tmp_path, limit_gb=ROOMY)
    return _Loaded(features.files, [kept(features, *each.images) for each in pairs])


def test_a_batch_survives_the_trainer(loaded: _Loaded) -> None:
    trainer = object.__new__(Trainer)
    trainer.args = SimpleNamespace(device=torch.device("cpu"))
    trainer.is_deepspeed_enabled = False
    assert same(trainer._prepare_input(loaded[0]), loaded[0])


def test_a_batch_survives_a_worker(loaded: _Loaded) -> None:
    loader: Any = torch.utils.data.DataLoader(
        loaded, batch_size=None, sampler=[0], num_workers=1, multiprocessing_context="fork"
    )
    assert [same(batch, loaded[0]) for batch in loader] == [True]


def test_features_can_be_updated_as_pinning_does() -> None:
    clone = copy.copy(Features(pooler_output=torch.zeros(1)))
    clone.update(pooler_output=torch.ones(1))
    assert (type(clone), clone.pooler_output.item()) == (Features, 1.0)


def test_files_can_be_sent_to_another_process(cached: FeatureCache) -> None:
    assert pickle.loads(pickle.dumps(cached.files)) == cached.files


def test_no_keys_are_no_inputs(cached: FeatureCache) -> None:
    assert cached.files.batch([]) == {}


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCLVLM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/sclvlm/features")
    monkeypatch.setenv("SCLVLM_CACHE", "/own")
    assert cache_folder() == Path("/own/features")
