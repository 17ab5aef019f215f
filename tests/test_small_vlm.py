"""The small VLM's new part starts where training can move it; its folder is made anew when its recipe changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from data_pipelines import small_vlm
from data_pipelines.small_vlm import GAIN, add_tokens, main, start
from tests import families


def test_the_projector_starts_with_weights_that_scale_with_their_fan_in() -> None:
    torch.manual_seed(0)
    wide, narrow = nn.Linear(1600, 400), nn.Linear(100, 400)
    start(nn.Sequential(wide, nn.GELU(), narrow))
    torch.testing.assert_close(wide.weight.std(), torch.tensor(GAIN / 40), rtol=0.02, atol=0)
    torch.testing.assert_close(narrow.weight.std(), torch.tensor(GAIN / 10), rtol=0.02, atol=0)


@pytest.fixture(name="out")
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a model will be written; in place of the real conversion, a file that says with which gain it was made."""

    def convert(cache: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(str(small_vlm.GAIN))

    monkeypatch.setattr(small_vlm, "convert", convert)
    monkeypatch.setenv("SCLVLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "model"


def test_a_model_that_is_there_is_left_as_it_is(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["--out", str(out)]) for _ in range(2)] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [f"{out}: built", f"{out}: already built"]


def test_another_recipe_makes_the_model_anew(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["--out", str(out)])
    monkeypatch.setattr(small_vlm, "recipe", lambda: "another")
    monkeypatch.setattr(small_vlm, "GAIN", 7)
    assert main(["--out", str(out)]) == 0
    assert (out / "config.json").read_text() == "7"


def test_a_folder_of_somebody_else_is_never_removed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out.mkdir()
    (out / "config.json").write_text("theirs")
    assert main(["--out", str(out)]) == 1
    assert (out / "config.json").read_text() == "theirs"
    assert "Remove it, or name another --out." in capsys.readouterr().err


def test_a_new_token_starts_as_the_mean_of_the_known_ones() -> None:
    model = families.build("llama").model
    known = model.get_input_embeddings().weight.detach().clone()
    add_tokens(model, len(known) + 1)
    grown = model.get_input_embeddings().weight
    assert torch.equal(grown[:-1], known)
    torch.testing.assert_close(grown[-1], known.mean(0), rtol=0, atol=1e-6)
