"""Every word said to a model: named, versioned, replaceable from a YAML file.

The four review prompts ask what SCL's compare (arXiv 2410.04055, section 3: CP, VP-1, VP-2, VP-3), in
words of this project. Two are controls: `again` points at nothing, and `oracle` knows the answer: it says that the
last answer is wrong where it is, and is `again` where it isn't.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from sclvlm.errors import ConfigError
from sclvlm.records import AnswerKind, Message, Sample, text_message

MARKER = "##"
REASONED = "Reason step by step. Then write only the final answer {marked}."


@dataclass(frozen=True)
class Prompt:
    """A text with `{question}`, `{options}` and `{hint}` (initial prompts), or none (review prompts).

    wrong: what a review prompt says instead after an answer that is wrong; empty for one that doesn't know.
    marker: what the final answer is asked to stand between: a mark, or an opening and a closing one.
    """

    name: str
    version: int
    text: str
    wrong: str = ""
    marker: str = MARKER

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def words(self) -> str:
        """All that decides what is said and how it is read."""
        return self.text + self.wrong + ("" if self.marker == MARKER else self.marker)


def _marked_by(marker: str, prompts: Iterable[Prompt]) -> dict[str, Prompt]:
    """`prompts` by their names, each asking for `marker` where its text has `{marked}`."""
    opening, _, closing = _literal(marker).partition(" ")
    asked = f"between {opening} and {closing}" if closing else f"between two {opening} marks"
    return {
        prompt.name: replace(
            prompt,
            text=_asking(prompt.text, asked),
            wrong=_asking(prompt.wrong, asked),
            marker=marker,
        )
        for prompt in prompts
    }


def _asking(text: str, asked: str) -> str:
    """`text` with `asked` in place of `{marked}`; other placeholders stay, and doubled braces as they are."""
    parsed = string.Formatter().parse(text)
    return "".join(_literal(said) + _field(name, asked) for said, name, _, _ in parsed)


def _field(name: str | None, asked: str) -> str:
    if name is None:
        return ""
    return asked if name == "marked" else f"{{{name}}}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


_INITIAL = (
    Prompt("reasoned", 1, f"{{hint}}{{question}}\n{{options}}{REASONED}"),
    Prompt("direct", 1, "{hint}{question}\n{options}Write only the final answer {marked}."),
    Prompt("bare", 1, "{hint}{question}"),
)
INITIAL = _marked_by(MARKER, _INITIAL)

_REVIEW = (
    Prompt("critique", 1, f"Find what is wrong in your answer and improve it. {REASONED}"),
    Prompt(
        "details",
        1,
        f"Look again: did you consider every relevant aspect and detail of the image? {REASONED}",
    ),
    Prompt(
        "context",
        1,
        f"Look again: did you understand the context and the purpose of the whole scene? {REASONED}",
    ),
    Prompt(
        "complete",
        1,
        f"Look again: is your understanding of the image complete, or did you miss or misread anything? {REASONED}",
    ),
    Prompt("again", 1, f"Please answer the question once more. {REASONED}"),
)
REVIEW = _marked_by(MARKER, _REVIEW)
"""Those that know nothing of the answer."""

_ORACLE = Prompt(
    "oracle",
    1,
    f"Please answer the question once more. {REASONED}",
    wrong=f"Your answer is wrong. Look again and give another one. {REASONED}",
)

_OPTION_HINT = {
    AnswerKind.CHOICE: "The final answer is the letter of one option.\n",
    AnswerKind.YES_NO: "The final answer is yes or no.\n",
    AnswerKind.NUMBER: "The final answer is a number.\n",
    AnswerKind.TEXT: "",
}


def initial_message(prompt: Prompt, sample: Sample) -> Message:
    """The first user message about `sample`: its images, then the filled prompt."""
    listed = "".join(f"{label}. {text}\n" for label, text in sample.labels.items())
    text = prompt.text.format(
        question=sample.question,
        options=listed + _OPTION_HINT[sample.kind],
        hint=f"{sample.hint}\n" if sample.hint else "",
    )
    return text_message("user", text, images=len(sample.images))


def review_message(prompt: Prompt, *, wrong: bool = False) -> Message:
    """The user message that asks for a review; the images are in the conversation already.

    wrong: whether the last answer is known to be.
    """
    return text_message("user", (prompt.wrong if wrong and prompt.wrong else prompt.text).format())


def in_plain_marks(text: str, marker: str) -> str:
    """`text` with what stands between `marker`s between ## marks, as answers are read."""
    opening, _, closing = marker.partition(" ")
    if not closing:
        return text.replace(marker, MARKER)
    head, *pieces = text.split(opening)
    return head + "".join(_plain(piece, opening, closing) for piece in pieces)


def _plain(piece: str, opening: str, closing: str) -> str:
    inside, closed, behind = piece.partition(closing)
    return f"{MARKER} {inside} {MARKER}{behind}" if closed else opening + piece


def load_prompt(role: str, spec: str, marker: str = MARKER) -> Prompt:
    """The prompt called `spec`: a built-in name, or `file.yaml:name` for one of yours.

    role: "initial" or "review". A YAML file maps names to `{version: 1, initial|review: text}`, a review also with
    `review_wrong: text` for answers that are wrong. marker: what the final answer is asked to stand between.
    Raises ConfigError for an unknown name, an unreadable file, no marker, and for a text that is empty, uses another
    placeholder or a formatted one, or asks at the beginning without the question.
    """
    if not 1 <= len(marker.split(" ")) <= 2 or not all(marker.split(" ")):
        raise ConfigError(f"marker: expected a mark, or an opening and a closing one and a space, got {marker!r}.")
    built_in = _marked_by(marker, _INITIAL if role == "initial" else (*_REVIEW, _ORACLE))
    if spec in built_in:
        return built_in[spec]
    file, _, name = spec.rpartition(":")
    if not file:
        names = ", ".join(built_in)
        raise ConfigError(f"{role} prompt: expected one of {names}, or file.yaml:name, got {spec!r}.")
    return _marked_by(marker, [_from_yaml(Path(file), name, role)])[name]


def _from_yaml(path: Path, name: str, role: str) -> Prompt:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read prompts: {error}") from None
    entry = entries.get(name) if isinstance(entries, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get(role), str):
        raise ConfigError(f"{path}: expected an entry {name!r} with a text under {role!r}.")
    if not isinstance(version := entry.get("version", 1), int) or isinstance(version, bool):
        raise ConfigError(f"{path}: prompt {name!r}: version must be a whole number, got {version!r}.")
    if not isinstance(wrong := entry.get("review_wrong", "") if role == "review" else "", str):
        raise ConfigError(f"{path}: prompt {name!r}: review_wrong must be a text, got {wrong!r}.")
    for key in (role, "review_wrong") if wrong else (role,):
        _check_text(entry[key], key, f"{path}: prompt {name!r}")
    return Prompt(name, version, entry[role], wrong)


def _check_text(text: str, key: str, place: str) -> None:
    """Raise ConfigError unless `text`, which stands at `place` under `key`, says something and can be filled in."""
    if not text.strip():
        raise ConfigError(f"{place}: {key} must say something, got {text!r}. Write what the model is to read.")
    try:
        fields = [field for field in string.Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise ConfigError(f"{place}: {error}. Write {{{{ for a literal brace.") from None
    allowed = {"question", "options", "hint"} if key == "initial" else set()
    if unknown := {str(name) for _, name, _, _ in fields} - allowed - {"marked"}:
        raise ConfigError(f"{place} may use {sorted(allowed) or 'no placeholder'}, got {sorted(unknown)}.")
    if formatted := next((name for _, name, form, conversion in fields if form or conversion), None):
        raise ConfigError(f"{place}: a placeholder takes no format and no conversion. Write {{{formatted}}} alone.")
    if key == "initial" and "question" not in {name for _, name, _, _ in fields}:
        raise ConfigError(f"{place}: an initial prompt must ask the question, got {text!r}. Write {{question}} in it.")
