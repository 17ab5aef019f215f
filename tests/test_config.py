"""One YAML describes a run; a wrong one is told where, why and what would be right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sclvlm.config import STAGES, Config, load_config
from sclvlm.errors import ConfigError

ASK: dict[str, Any] = {}
BASE: dict[str, Any] = {"run": {"dir": "runs/a"}, "model": {"path": "m"}}
FULL: dict[str, Any] = {
    **BASE,
    "data": {"samples": "s.jsonl", "test": "t.jsonl"},
    **{stage: {} for stage in STAGES},
}


def load(tmp_path: Path, data: object, *overrides: str) -> Config:
    """The config of this content; JSON is YAML."""
    path = tmp_path / "run.yaml"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return load_config(path, list(overrides))


def message(tmp_path: Path, data: object, *overrides: str) -> str:
    """What loading it complains about."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, data, *overrides)
    return str(caught.value).replace(str(tmp_path / "run.yaml"), "run.yaml")


def test_stages_are_those_with_a_section_in_their_order(tmp_path: Path) -> None:
    data = {"train": {}, "label": {}, "infer": {}, **BASE, "data": {"samples": "s.jsonl"}}
    assert load(tmp_path, data).stages == ("infer", "label", "train")


@pytest.mark.parametrize("stage", STAGES)
def test_a_bare_section_is_a_stage_with_its_defaults(tmp_path: Path, stage: str) -> None:
    bare = load(tmp_path, {**FULL, stage: None})
    assert bare == load(tmp_path, FULL)


def test_a_bare_section_in_yaml_is_a_stage(tmp_path: Path) -> None:
    text = "run: {dir: r}\nmodel: {path: m}\ndata: {samples: s.jsonl}\ninfer:\nlabel:\n"
    assert load(tmp_path, text).stages == ("infer", "label")


def test_bare_data_means_no_files(tmp_path: Path) -> None:
    assert load(tmp_path, {**BASE, "data": None}).data.samples is None


def test_a_section_without_what_it_must_say_names_the_key(tmp_path: Path) -> None:
    assert message(tmp_path, {**BASE, "model": None}) == "run.yaml: model.path: field required."


def test_the_override_null_takes_a_stage_out(tmp_path: Path) -> None:
    assert load(tmp_path, FULL, "report=null").stages == ("infer", "label", "train", "evaluate")


def test_the_override_null_does_not_take_out_what_every_run_needs(tmp_path: Path) -> None:
    assert message(tmp_path, FULL, "run=null").startswith("override 'run=null': expected section.key=value")


def test_balance_with_one_source_would_drop_every_pair_and_is_refused(tmp_path: Path) -> None:
    found = message(tmp_path, FULL, "label.balance=true", "label.sources=[i->c]")
    assert found == "run.yaml: label: balance=true needs both sources, i->c and c->i, got only i->c."


def test_balance_with_both_sources_is_fine(tmp_path: Path) -> None:
    assert load(tmp_path, FULL, "label.balance=true").stages == STAGES


def test_no_source_at_all_is_refused(tmp_path: Path) -> None:
    assert "label: sources must name i->c, c->i or both" in message(tmp_path, FULL, "label.sources=[]")


def test_two_origins_of_pairs_are_refused(tmp_path: Path) -> None:
    assert "remove one of the two" in message(tmp_path, FULL, "data.pairs=p.jsonl")


def test_an_override_opens_a_section_that_is_null(tmp_path: Path) -> None:
    data = {**BASE, "data": {"pairs": "p.jsonl"}, "train": None}
    assert load(tmp_path, data, "train.beta=0.2").stages == ("train",)


def test_the_run_directory_is_a_path(tmp_path: Path) -> None:
    assert load(tmp_path, BASE).folder == Path("runs/a")


def test_an_unknown_key_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert message(tmp_path, {**BASE, "run": {"dir": "r", "sed": 1}}) == (
        "run.yaml: run.sed: extra inputs are not permitted, got 1. Known keys there: dir, seed."
    )


def test_an_unknown_key_of_an_optional_section_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert "report.titel" in (found := message(tmp_path, {**FULL, "report": {"titel": "x"}}))
    assert found.endswith("Known keys there: title, gallery, resamples, confidence.")


def test_an_unknown_key_of_a_nested_section_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    found = message(tmp_path, {**FULL, "train": {"lora": {"r": 8}}})
    assert found.endswith("Known keys there: rank, alpha, dropout, targets, dora, rslora.")


def test_an_unknown_section_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    found = message(tmp_path, {**BASE, "trian": {}})
    assert found.endswith("Known keys there: run, model, data, infer, label, train, evaluate, report.")


@pytest.mark.parametrize(
    ("train", "ways"),
    [
        ({}, ("lora", "frozen", "frozen")),
        ({"lora": None}, ("full", "frozen", "frozen")),
        ({"lora": None, "language": "frozen", "vision": "full"}, ("frozen", "frozen", "full")),
        ({"language": "full", "projector": "lora"}, ("full", "lora", "frozen")),
    ],
)
def test_each_part_trains_as_its_key_says(tmp_path: Path, train: dict[str, Any], ways: tuple[str, ...]) -> None:
    loaded = load(tmp_path, {**FULL, "train": train}).train
    assert loaded is not None
    assert tuple(loaded.ways.values()) == ways


def test_a_model_that_is_all_frozen_has_nothing_to_train(tmp_path: Path) -> None:
    assert message(tmp_path, FULL, "train.language=frozen") == (
        "run.yaml: train: language, projector and vision are all frozen: set one of them to lora or full."
    )


@pytest.mark.parametrize("key", ["language", "projector", "vision"])
def test_adapters_need_their_section(tmp_path: Path, key: str) -> None:
    assert f"{key} is lora, but lora is null" in message(tmp_path, FULL, "train.lora=null", f"train.{key}=lora")


def test_no_adapters_stay_none_when_the_resolved_config_is_read_back(tmp_path: Path) -> None:
    first = load(tmp_path, FULL, "train.lora=null")
    (tmp_path / "again.yaml").write_text(first.to_yaml())
    assert load_config(tmp_path / "again.yaml") == first
    assert first.train is not None
    assert first.train.lora is None


def test_a_wrong_type_names_key_law_and_what_was_found(tmp_path: Path) -> None:
    found = message(tmp_path, {**BASE, "run": {"dir": "r", "seed": "1"}})
    assert found == "run.yaml: run.seed: input should be a valid integer, got '1'."


def test_a_number_out_of_range_is_an_error(tmp_path: Path) -> None:
    found = message(tmp_path, FULL, "train.beta=0")
    assert found == "run.yaml: train.beta: input should be greater than 0, got 0."


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    assert message(tmp_path, {"run": {"dir": "r"}}) == "run.yaml: model: field required."


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({"infer": {}}, "data.samples"),
        ({"label": {}}, "infer section"),
        ({"train": {}}, "data.pairs"),
        ({"evaluate": {}}, "data.test"),
        ({"report": {}}, "evaluate section"),
    ],
)
def test_a_stage_without_its_input_says_what_it_needs(tmp_path: Path, sections: dict[str, Any], missing: str) -> None:
    assert missing in message(tmp_path, {**BASE, **sections})


def test_train_takes_pairs_that_are_there_already(tmp_path: Path) -> None:
    assert load(tmp_path, {**BASE, "data": {"pairs": "p.jsonl"}, "train": {}}).stages == ("train",)


def test_an_override_replaces_a_value(tmp_path: Path) -> None:
    assert load(tmp_path, FULL, "run.seed=7").run.seed == 7


def test_an_override_opens_a_section(tmp_path: Path) -> None:
    config = load(tmp_path, {**BASE, "data": {"pairs": "p.jsonl"}}, "train.lora.rank=4")
    assert config.train is not None
    assert config.train.lora.rank == 4


def test_the_last_of_two_overrides_wins(tmp_path: Path) -> None:
    assert load(tmp_path, FULL, "run.seed=7", "run.seed=8").run.seed == 8


def test_an_override_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert load(tmp_path, BASE, "run.dir=a=b").run.dir == "a=b"


def test_an_override_is_checked_like_the_file(tmp_path: Path) -> None:
    assert message(tmp_path, FULL, "train.bta=1").startswith("run.yaml: train.bta: extra inputs")


@pytest.mark.parametrize("override", ["seed", "seed=1", ".seed=1", "run.=1", "=1"])
def test_an_override_of_another_form_is_answered_with_the_form(tmp_path: Path, override: str) -> None:
    found = message(tmp_path, BASE, override)
    assert found == f"override {override!r}: expected section.key=value, such as train.beta=0.2."


def test_an_override_below_a_value_is_an_error(tmp_path: Path) -> None:
    assert message(tmp_path, BASE, "run.dir.x=1") == "override 'run.dir.x=1': dir is not a section."


def test_an_override_that_is_no_yaml_is_an_error(tmp_path: Path) -> None:
    assert message(tmp_path, BASE, "run.seed=[1") == "override 'run.seed=[1': the value is not valid YAML."


@pytest.mark.parametrize("text", ["5e-5", "5E-5", "5.0e-5", "+5e-5", "0.5e-4", "5e-05"])
def test_a_rate_with_an_exponent_is_a_number(tmp_path: Path, text: str) -> None:
    config = load(tmp_path, FULL, f"train.args.learning_rate={text}")
    assert config.train is not None
    assert config.train.args["learning_rate"] == 5e-5


@pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "v1e5"])
def test_a_text_that_only_looks_like_an_exponent_stays_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, BASE, f"run.dir={text}").run.dir == text


def test_a_list_in_yaml_serves_where_several_values_stand(tmp_path: Path) -> None:
    config = load(tmp_path, FULL, "label.sources=[i->c]", "train.lora.targets=[q_proj]")
    assert config.label is not None
    assert config.train is not None
    assert (config.label.sources, config.train.lora.targets) == (("i->c",), ("q_proj",))


@pytest.mark.parametrize("data", [FULL, BASE], ids=["all stages", "no stage"])
def test_a_config_survives_being_written_and_read(tmp_path: Path, data: dict[str, Any]) -> None:
    config = load(tmp_path, data)
    assert load(tmp_path, config.to_yaml()) == config


@pytest.mark.parametrize("text", ["", "- 1", "text"])
def test_a_file_without_sections_is_an_error(tmp_path: Path, text: str) -> None:
    assert message(tmp_path, text).startswith("run.yaml: expected sections such as run: and model:, got ")


def test_a_file_that_is_no_yaml_is_an_error(tmp_path: Path) -> None:
    assert message(tmp_path, "run: [").startswith("run.yaml: not valid YAML")


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "run.yaml")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read the config: No such file"):
        load_config(tmp_path / "none.yaml")


def test_a_wrong_config_ends_with_code_2() -> None:
    assert ConfigError.exit_code == 2
