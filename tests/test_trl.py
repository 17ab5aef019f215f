"""What `sclvlm export` writes is what TRL's DPOTrainer trains on, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sclvlm.export import export_parquet
from sclvlm.records import PreferencePair, text_message
from sclvlm.storage import write_records

trl = pytest.importorskip("trl")

# TRL asks transformers for an attribute that was renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def pairs(pictures: list[str]) -> list[PreferencePair]:
    """A pair a picture."""
    return [
        PreferencePair(
            id=str(number),
            prompt=[text_message("user", "what colour?", images=1)],
            chosen=[text_message("assistant", "It is red. ## red ##")],
            rejected=[text_message("assistant", "Blue. ## blue ##")],
            images=(picture,),
        )
        for number, picture in enumerate(pictures)
    ]


def one_step(model: Path, data: Any, folder: Path) -> Any:
    """TRL's own log after one step on two of the pairs."""
    settings = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=2,
        max_steps=1,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        max_length=None,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = trl.DPOTrainer(model=str(model), args=settings, train_dataset=data)
    trainer.train()
    return trainer.state.log_history[0]


def loaded(kind: str, path: Path, folder: Path) -> Any:
    """The data set as `datasets` opens it."""
    from datasets import load_dataset

    return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(folder / "cache"))


def test_trl_takes_a_step_on_the_exported_parquet(
    tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path
) -> None:
    write_records(tmp_path / "pairs.jsonl", pairs(pictures))
    export_parquet(tmp_path / "pairs.jsonl", tmp_path / "pairs.parquet")
    log = one_step(tiny_model("llava"), loaded("parquet", tmp_path / "pairs.parquet", tmp_path), tmp_path)
    assert log["loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2: the policy is still its reference


def test_trl_takes_a_step_on_exported_pairs_without_pictures(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    text = {"prompt": [text_message("user", "what colour?")], "images": ()}
    write_records(tmp_path / "pairs.jsonl", [pair.model_copy(update=text) for pair in pairs(["a", "b"])])
    export_parquet(tmp_path / "pairs.jsonl", tmp_path / "pairs.parquet")
    log = one_step(tiny_model("llama"), loaded("parquet", tmp_path / "pairs.parquet", tmp_path), tmp_path)
    assert log["loss"] == pytest.approx(0.6931, abs=1e-3)


# Given paths, transformers decodes with torchvision.
@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
def test_trl_takes_a_step_on_the_pairs_file_itself(
    tiny_model: Callable[[str], Path], pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records(tmp_path / "pairs.jsonl", pairs(pictures))
    monkeypatch.chdir(tmp_path)  # its paths are relative to the file
    log = one_step(tiny_model("llava"), loaded("json", tmp_path / "pairs.jsonl", tmp_path), tmp_path)
    assert log["loss"] == pytest.approx(0.6931, abs=1e-3)
