"""What every stage reads and writes: frozen records, one JSON object a line, that check themselves.

Unknown fields of a line are kept in `meta`; a missing or wrong field raises pydantic's ValidationError,
which `sclvlm.storage` turns into an error naming file, line and field.
"""

from __future__ import annotations

import string
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Message = dict[str, Any]
"""{"role": "user|assistant|system|tool", "content": [{"type": "image"}, {"type": "text", "text": ...}]}."""

LETTERS = string.ascii_uppercase


class AnswerKind(StrEnum):
    """How an answer is read and compared."""

    CHOICE = "choice"
    YES_NO = "yes_no"
    NUMBER = "number"
    TEXT = "text"


class Verdict(StrEnum):
    """A response against the known answer. UNPARSED (nothing readable) is not INCORRECT (read, and wrong)."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSED = "unparsed"


class Transition(StrEnum):
    """First and last verdict of a trace; `i` is every verdict that is not correct, unparsed included."""

    CC = "c->c"
    IC = "i->c"
    CI = "c->i"
    II = "i->i"

    @classmethod
    def between(cls, first: Verdict, last: Verdict) -> Transition:
        """The transition from `first` to `last`."""
        return cls("->".join("c" if verdict is Verdict.CORRECT else "i" for verdict in (first, last)))


class Record(BaseModel):
    """A frozen line of a record file. `meta` holds whatever fields the line had beyond the declared ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _unknown_fields_into_meta(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = {key: value for key, value in data.items() if key not in cls.model_fields}
        if not unknown:
            return data
        known = {key: value for key, value in data.items() if key in cls.model_fields}
        meta = known.get("meta") or {}
        return {**known, "meta": {**unknown, **meta} if isinstance(meta, dict) else meta}


class Sample(Record):
    """A question with its known answer. `images` may be empty (text only) or hold several paths.

    kind=choice: 2 to 26 `choices`, `answer` is a letter. kind=yes_no: `answer` is yes or no.
    kind=text: `answers` may list further accepted texts.
    """

    id: str = Field(min_length=1)
    images: tuple[str, ...] = ()
    question: str = Field(min_length=1)
    kind: AnswerKind
    choices: tuple[str, ...] = ()
    answer: str = Field(min_length=1)
    answers: tuple[str, ...] = ()
    hint: str = ""
    category: str = ""
    group: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """Letter to option text; empty unless kind=choice."""
        return dict(zip(LETTERS, self.choices, strict=False))

    @property
    def cluster(self) -> str:
        """What makes samples dependent on each other: the group, else the images, else nothing but itself."""
        return self.group or "|".join(self.images) or self.id

    @model_validator(mode="after")
    def _answer_fits_kind(self) -> Self:
        if self.kind is AnswerKind.CHOICE:
            if not 2 <= len(self.choices) <= len(LETTERS):
                raise ValueError(f"choices must hold 2 to 26 options for kind=choice, got {len(self.choices)}")
            if self.answer not in self.labels:
                allowed = ", ".join(self.labels)
                raise ValueError(f"answer must be one of {allowed} ({len(self.choices)} choices), got {self.answer!r}")
        elif self.choices:
            raise ValueError(f"choices must be empty for kind={self.kind}, got {len(self.choices)} options")
        if self.kind is AnswerKind.YES_NO and self.answer not in ("yes", "no"):
            raise ValueError(f"answer must be yes or no for kind=yes_no, got {self.answer!r}")
        return self


class Turn(BaseModel):
    """One request and its response. `prompt` holds the messages this turn added to the conversation.

    opened: the tag of a thought that the chat template had begun, `<think>` say, behind which the response goes on. It
    is written where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["initial", "refined"]
    prompt: list[Message]
    response: str
    num_tokens: int = Field(ge=0)
    finish_reason: Literal["stop", "length", "error"]
    logp: float | None = None
    opened: str = ""

    @property
    def said(self) -> str:
        """The response with the thought that it goes on with."""
        return self.opened + self.response

    @model_serializer(mode="wrap")
    def _without_nothing_opened(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if key != "opened" or value}


class ModelRef(BaseModel):
    """Which weights spoke."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    revision: str | None = None
    adapter: str | None = None


class Trace(Record):
    """A conversation about one sample: the initial answer, then one refined answer a review round.

    A sample that could not be answered keeps its turns, with finish_reason "error", an empty response and
    the reason in meta["error"]: it stays in the denominator.
    """

    id: str = Field(min_length=1)
    draw: int = Field(default=0, ge=0)
    turns: tuple[Turn, ...] = Field(min_length=1)
    model: ModelRef
    sampling: dict[str, Any]
    prompts: dict[str, str]
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """What a trace is the only one of, in its file."""
        return (self.id, self.draw)

    @property
    def failed(self) -> bool:
        """True when no answer could be had."""
        return any(turn.finish_reason == "error" for turn in self.turns)


class GradedTurn(Turn):
    """A turn with what was read out of its response and how that compares with the known answer."""

    answer: str | None
    method: str
    verdict: Verdict


class GradedTrace(Trace):
    """A trace whose every turn was graded. Grading needs no model, so it can be repeated."""

    turns: tuple[GradedTurn, ...] = Field(min_length=1)
    transition: Transition

    @model_validator(mode="after")
    def _transition_is_that_of_the_turns(self) -> Self:
        between = Transition.between(self.turns[0].verdict, self.turns[-1].verdict)
        if self.transition is not between:
            raise ValueError(f"transition must be {between} for these verdicts, got {self.transition}")
        return self


class TrainingRecord(Record):
    """What is trained on. `weight` multiplies the record's loss before the mean over the records of a step.

    That mean divides by the number of records, not by the sum of their weights: weight 2 counts as two copies in one
    step of the same size would, weight 0 not at all, whatever the others weigh. It is written where it is not 1.
    """

    weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_plain_weight(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {key: value for key, value in data.items() if key != "weight" or value != 1.0}


class PreferencePair(TrainingRecord):
    """Two completions of one prompt, `chosen` preferred to `rejected`: TRL's conversational format.

    The number of {"type": "image"} placeholders in `prompt` equals the number of `images`.
    """

    id: str = Field(min_length=1)
    prompt: list[Message] = Field(min_length=1)
    chosen: list[Message] = Field(min_length=1)
    rejected: list[Message] = Field(min_length=1)
    images: tuple[str, ...] = ()
    source: str = ""

    @property
    def completions(self) -> tuple[list[Message], ...]:
        """Chosen first."""
        return (self.chosen, self.rejected)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected must differ, got the same messages twice")
        _check_images(self.prompt, self.images)
        return self


class SingleCompletion(TrainingRecord):
    """A prompt with one completion."""

    id: str = Field(min_length=1)
    prompt: list[Message] = Field(min_length=1)
    completion: list[Message] = Field(min_length=1)
    images: tuple[str, ...] = ()
    source: str = ""

    @property
    def completions(self) -> tuple[list[Message], ...]:
        """The one completion."""
        return (self.completion,)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _check_images(self.prompt, self.images)
        return self


class Demonstration(SingleCompletion):
    """A prompt with the one completion to imitate (loss `sft`): TRL's prompt-completion format."""


class UnpairedCompletion(SingleCompletion):
    """A prompt with one completion and whether it is a desirable one (loss `kto`): TRL's unpaired format."""

    label: bool = Field(strict=True)


def text_message(role: str, text: str, *, images: int = 0) -> Message:
    """A message in structured form: `images` placeholders, then the text."""
    return {"role": role, "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def message_text(message: Message) -> str:
    """The text of a message, whether its content is a string or a list of parts."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if part.get("type") == "text")


def count_images(messages: list[Message]) -> int:
    """Image placeholders in `messages`."""
    return sum(
        part.get("type") == "image"
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
    )


def _check_images(prompt: list[Message], images: tuple[str, ...]) -> None:
    placeholders = count_images(prompt)
    if placeholders != len(images):
        raise ValueError(f"prompt must hold one image placeholder per image: {placeholders} for {len(images)} images")
