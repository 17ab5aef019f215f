"""One YAML describes one run: a section per stage, every key checked, `section.key=value` overrides it.

A section that is there is a stage that runs, with its defaults where nothing is said: a bare `label:` means
`label: {}`. The override `label=null` takes a stage out; so does leaving its section away.

The door and the stages know these models; everything below takes plain keyword arguments.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from sclvlm.errors import ConfigError
from sclvlm.parts import Part, Way, holds_all
from sclvlm.sections import LossName, NamedModels, OnlineSection, Section, ServerSection
from sclvlm.storage import describe

STAGES = ("infer", "label", "train", "evaluate", "report")


class _Loader(yaml.SafeLoader):
    """Reads 5e-5 as a number, as YAML 1.2 does; PyYAML by itself takes it for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class RunSection(Section):
    """Where a run lives, and the seed everything derives from."""

    dir: str
    """The run directory: everything the run makes lies in it."""
    seed: int = Field(default=0, ge=0)
    """What all randomness derives from."""


class ModelSection(Section):
    """The model to start from: a local transformers directory or a hub id, and how to compute with it."""

    path: str
    """A transformers model directory, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    adapter: str | None = None
    """A directory of a peft adapter to start from. It is trained further and must have the form that train.lora asks
    for; where a whole model is written it is folded in first."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision; auto is bfloat16 where the hardware multiplies it natively, else float32."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Hold the language model's weights in 8 bits, or in 4 (NF4, QLoRA); on CUDA, with the extra qlora installed.
    Not yet run on a GPU."""
    device: str = "auto"
    """A torch device; auto is the accelerator if there is one, else the CPU."""
    attention: str = "auto"
    """transformers' attn_implementation; auto leaves the choice to it."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""


class DataSection(Section):
    """The record files a run starts from; each is needed only by the stages that read it."""

    samples: str | None = None
    """Questions to learn from (samples.jsonl): infer and label read it."""
    pairs: str | None = None
    """Pairs that are there already, instead of a label section; demonstrations for loss sft, labelled ones for kto."""
    held_out: str | None = None
    """Records like those trained on, to measure training on and never to train on; see train.args.eval_strategy."""
    test: str | None = None
    """Questions to measure on (samples.jsonl, or a suite of benchmarks, .yaml): evaluate reads it."""
    strict: bool = False
    """End the run at the first training record that conflicts with itself (chosen equals rejected, say) or whose
    picture can't be read, instead of leaving it out."""


class AskSection(Section):
    """How questions are put: the two turns, their sampling, and how many are answered at once."""

    engine: Literal["hf", "server"] = "hf"
    """What generates: hf, in process (a policy that acts plays in its world), or server, over HTTP."""
    server: ServerSection = ServerSection()
    """Whom engine: server asks."""
    initial: str = "reasoned"
    """Prompt of the first turn: a built-in name, or file.yaml:name."""
    review: str = "complete"
    """Prompt of the further turns: a built-in name, or file.yaml:name. oracle is a control that knows the answer."""
    marker: str = "##"
    """What the final answer is asked to stand between: a mark, or an opening and a closing one and a space."""
    turns: int = Field(default=2, ge=1)
    """Answers a conversation: the first and its refinements."""
    draws: int = Field(default=1, ge=1)
    """Conversations a question."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only so many questions, the first ones."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Sample from the most likely tokens that hold this share of probability."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer in tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Conversations held at once in process, and by servers where the review knows the answer (oracle); changes only
    the pace."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """Hold as many at once as fit in so many tokens, room for replies included, in place of batch_size; engine hf."""
    continue_cache: bool = True
    """Keep the first turn's key/value cache where that is exact; changes only the pace."""
    max_failed_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of conversations that may fail (a broken image, say) and be kept with their reason."""


class EvaluateSection(AskSection):
    """How the questions to measure on are put, and to whom beside the run's own models."""

    models: NamedModels = Field(default_factory=dict)
    """Further models, adapters or ways of asking, by name."""


class LabelSection(Section):
    """Which graded traces become pairs."""

    pairing: Literal["refine", "independent"] = "refine"
    """refine compares the first with the last turn; independent compares first turns of two draws."""
    sources: tuple[Literal["i->c", "c->i"], ...] = ("i->c", "c->i")
    """Which changes make a pair: wrong to right, right to wrong."""
    unparsed: Literal["drop", "rejected"] = "drop"
    """An answer that can't be read: drop its pair, or let it be the rejected one."""
    balance: bool = False
    """Keep as many pairs of either source as the rarer one has."""

    @model_validator(mode="after")
    def _sources_can_be_balanced(self) -> Self:
        if not self.sources:
            raise ValueError("sources must name i->c, c->i or both, got none")
        if self.balance and len(set(self.sources)) < 2:
            raise ValueError(f"balance=true needs both sources, i->c and c->i, got only {self.sources[0]}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _list_to_tuple(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("sources"), list):
            return {**data, "sources": tuple(data["sources"])}
        return data


class LoraSection(Section):
    """Low-rank adapters on linear layers; `targets` are endings of module names."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: int = Field(default=32, ge=1)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Dropout before the update."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Endings of the names of the language model's linear layers that are adapted; of other parts all are."""
    dora: bool = False
    """Train the magnitude of each row of the weights apart from its direction (DoRA)."""
    rslora: bool = False
    """Scale the update by alpha / sqrt(rank) instead, so that its size doesn't shrink with the rank."""

    @model_validator(mode="before")
    @classmethod
    def _list_to_tuple(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("targets"), list):
            return {**data, "targets": tuple(data["targets"])}
        return data


class TrainSection(Section):
    """The preference stage. `args` goes to transformers' TrainingArguments as it is."""

    loss: LossName = "dpo"
    """dpo, robust, ipo, ipo_sum, hinge, exo, hybrid_dpo, hypo, apo_zero, apo_down, sppo, nca, kto, orpo, simpo, cpo
    (see sclvlm/losses), sft, which imitates the chosen completion alone, or your own as module:function."""
    beta: float = Field(default=0.1, gt=0.0)
    """Strength of the pull to the reference; for cpo, simpo and orpo what their papers call so (orpo: lambda)."""
    loss_options: dict[str, float] = Field(default_factory=dict)
    """The loss's own numbers, such as label_smoothing of dpo, robust and exo, or gamma of simpo."""
    loss_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the loss."""
    nll_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the chosen completion's negative log-likelihood a token, added to the loss."""
    surplus_weight: float = Field(default=1.0, ge=0.0, le=1.0)
    """Weight of the tokens by which a completion is longer than its sibling (length-desensitised DPO); 1 is plain."""
    pair_weights: Literal["equal", "wpo"] = "equal"
    """wpo counts a pair by how likely the policy is to say it."""
    online: OnlineSection = OnlineSection()
    """What the policy itself says in training, for losses that look at it: hypo."""
    reference: Literal["cached", "live"] = "cached"
    """cached scores all pairs once before the first step; live scores them again each step, with fresh adapters off,
    else by a copy of what trains (its memory in float32 once more)."""
    max_length: int = Field(default=2048, ge=1)
    """Longest row in tokens, images included; longer records are left out and counted."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """Fill batches up to so many tokens, padding included, with records of similar length, in place of
    train.args.per_device_train_batch_size records, which is their limit then if it is given."""
    layout: Literal["auto", "plain", "shared"] = "auto"
    """shared computes a prompt once for all its completions, plain once for each; auto is shared where exact."""
    features: Literal["auto", "cached", "live"] = "auto"
    """cached computes what a frozen tower makes of pictures once and keeps it in the user's cache directory, live
    each time; auto keeps it where that is exact."""
    features_gb: float = Field(default=20.0, gt=0.0)
    """Largest size of that cache in 10^9 bytes; what was not used for longest goes first."""
    lora: LoraSection | None = LoraSection()
    """The adapters."""
    language: Literal["auto", "frozen", "lora", "full"] = "auto"
    """Train the language model: not at all, by adapters, or in full; auto is lora, or full where train.lora is null."""
    projector: Way = "frozen"
    """Train the projector between image encoder and language model: not at all, by adapters, or in full."""
    vision: Way = "frozen"
    """Train the image encoder: not at all, by adapters, or in full; running statistics of batch norms stay."""
    held_out_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the prompts to set apart from the training file and measure on, with all that shares a picture."""
    early_stopping: int | None = Field(default=None, ge=1)
    """End after so many evaluations without a better train.args.metric_for_best_model, the held-out loss by default."""
    early_stopping_threshold: float = Field(default=0.0, ge=0.0)
    """What a figure must improve by to count as better for early_stopping."""
    stop_at: dict[str, float] = Field(default_factory=dict)
    """End once held-out figures have reached these values, all of them; losses from above. Say eval_exact: 0.65."""
    merge: bool = False
    """Also write an ordinary model directory with the adapter folded in; without an adapter there is one anyway."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Goes to transformers' TrainingArguments as it is."""

    @property
    def ways(self) -> dict[Part, Way]:
        """How each part of the model trains."""
        language: Way = ("full" if self.lora is None else "lora") if self.language == "auto" else self.language
        return {"language": language, "projector": self.projector, "vision": self.vision}

    @property
    def writes_adapter(self) -> bool:
        """Whether what was trained is written as an adapter; else as a whole model."""
        return holds_all(self.ways)

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        if set(self.ways.values()) == {"frozen"}:
            raise ValueError("language, projector and vision are all frozen: set one of them to lora or full")
        adapted = next((part for part, way in self.ways.items() if way == "lora"), None)
        if adapted and self.lora is None:
            raise ValueError(f"{adapted} is lora, but lora is null: give lora a section, or set {adapted} to full")
        return self


class ReportSection(Section):
    """What the report says beside the figures."""

    title: str = "Before and after self-correction learning"
    """Heading of the report."""
    gallery: int = Field(default=12, ge=0)
    """Examples shown."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap resamples behind each interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Level of the intervals."""


class Config(Section):
    """A complete run. `sclvlm run` executes the stages whose section is present."""

    run: RunSection
    model: ModelSection
    data: DataSection = DataSection()
    infer: AskSection | None = None
    label: LabelSection | None = None
    train: TrainSection | None = None
    evaluate: EvaluateSection | None = None
    report: ReportSection | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages this config has a section for, in order."""
        return tuple(stage for stage in STAGES if getattr(self, stage) is not None)

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.run.dir)

    def to_yaml(self) -> str:
        """The resolved config, defaults filled in: what `load_config` reads back as the same."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)

    def resolved(self) -> dict[str, Any]:
        """The same as plain data."""
        data = self.model_dump(mode="json", exclude_none=True)
        if self.train and self.train.lora is None:
            data["train"]["lora"] = None  # left out it would be the default one
        return data

    @model_validator(mode="after")
    def _stages_have_their_inputs(self) -> Self:
        if self.infer and not self.data.samples:
            raise ValueError("data.samples must name a samples file when there is an infer section")
        if self.label and not self.infer:
            raise ValueError("label reads what infer wrote: add an infer section")
        if self.train and not (self.label or self.data.pairs):
            raise ValueError("train needs pairs: add a label section, or name a file in data.pairs")
        if self.train and self.train.held_out_share and self.data.held_out:
            raise ValueError("data.held_out names the held-out records, so train.held_out_share must be 0")
        if self.train and self.label and self.data.pairs:
            raise ValueError("train takes its pairs from label or from data.pairs: remove one of the two")
        if self.train and self.model.quantization != "none" and self.train.ways["language"] != "lora":
            raise ValueError(
                f"model.quantization {self.model.quantization} can't be trained but by adapters: set "
                f"train.language to lora, got {self.train.ways['language']}"
            )
        if self.evaluate and not self.data.test:
            raise ValueError("data.test must name a samples file when there is an evaluate section")
        if self.evaluate and not self.train and any(each.of == "after" for each in self.evaluate.models.values()):
            raise ValueError("evaluate.models has one of: after, which train makes: add a train section")
        if self.report and not (self.evaluate and self.train):
            raise ValueError("report compares before with after training: add train and evaluate sections")
        return self


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """The config in `path` with `section.key=value` overrides (values in YAML) applied.

    Raises ConfigError naming file, key, rule and what was found.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected sections such as run: and model:, got {type(data).__name__}.")
    data = {key: {} if value is None else value for key, value in data.items()}
    for override in overrides or []:
        apply_override(data, override)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}.{_remedy(error)}") from None


def apply_override(data: dict[str, Any], override: str) -> None:
    """Put the value of `section.key=value` into `data`. Raises ConfigError for what has not that form."""
    key, equals, text = override.partition("=")
    if key in STAGES and text == "null":
        data[key] = None
        return
    *parents, last = key.split(".")
    if not equals or not parents or not all([*parents, last]):
        raise ConfigError(f"override {override!r}: expected section.key=value, such as train.beta=0.2.")
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: the value is not valid YAML.") from None
    for parent in parents:
        if data.get(parent) is None:
            data[parent] = {}
        if not isinstance(data[parent], dict):
            raise ConfigError(f"override {override!r}: {parent} is not a section.")
        data = data[parent]
    data[last] = value


def _remedy(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return ""
    section: Any = Config
    for part in first["loc"][:-1]:
        section = _section_of(section, str(part)) or section  # what is named by the user has no field
    known = ", ".join(section.model_fields) if section else ""
    return f" Known keys there: {known}." if known else ""


def _section_of(model: Any, key: str) -> Any:
    """The Section class under `key` of `model`, optional or not; None when there is none."""
    field = model.model_fields.get(key) if model else None
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)
