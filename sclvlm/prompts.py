"""Every word said to a model: named, versioned, replaceable from a YAML file.

The four review prompts ask what SCL's compare (arXiv 2410.04055, section 3: CP, VP-1, VP-2, VP-3), in
words of this project; `again` is the neutral control that points at nothing.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

import yaml

from sclvlm.errors import ConfigError
from sclvlm.records import AnswerKind, Message, Sample, text_message

MARKED = "Then write only the final answer between two ## marks."
REASONED = f"Reason step by step. {MARKED}"


@dataclass(frozen=True)
class Prompt:
    """A text with `{question}`, `{options}` and `{hint}` (initial prompts), or none (review prompts)."""

    name: str
    version: int
    text: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


INITIAL = {
    prompt.name: prompt
    for prompt in (
        Prompt("reasoned", 1, f"{{hint}}{{question}}\n{{options}}{REASONED}"),
        Prompt("direct", 1, "{hint}{question}\n{options}Write only the final answer between two ## marks."),
        Prompt("bare", 1, "{hint}{question}"),
    )
}

REVIEW = {
    prompt.name: prompt
    for prompt in (
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
}

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


def review_message(prompt: Prompt) -> Message:
    """The user message that asks for a review; the images are in the conversation already."""
    return text_message("user", prompt.text.format())


def load_prompt(role: str, spec: str) -> Prompt:
    """The prompt called `spec`: a built-in name, or `file.yaml:name` for one of yours.

    role: "initial" or "review". A YAML file maps names to `{version: 1, initial|review: text}`.
    Raises ConfigError for an unknown name, an unreadable file or an unknown placeholder.
    """
    built_in = INITIAL if role == "initial" else REVIEW
    if spec in built_in:
        return built_in[spec]
    file, _, name = spec.rpartition(":")
    if not file:
        names = ", ".join(built_in)
        raise ConfigError(f"{role} prompt: expected one of {names}, or file.yaml:name, got {spec!r}.")
    return _from_yaml(Path(file), name, role)


def _from_yaml(path: Path, name: str, role: str) -> Prompt:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read prompts: {error}") from None
    entry = entries.get(name) if isinstance(entries, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get(role), str):
        raise ConfigError(f"{path}: expected an entry {name!r} with a text under {role!r}.")
    if not isinstance(version := entry.get("version", 1), int):
        raise ConfigError(f"{path}: prompt {name!r}: version must be a whole number, got {version!r}.")
    prompt = Prompt(name, version, entry[role])
    _check_placeholders(prompt, {"question", "options", "hint"} if role == "initial" else set(), path)
    return prompt


def _check_placeholders(prompt: Prompt, allowed: set[str], path: Path) -> None:
    try:
        used = {field for _, field, _, _ in string.Formatter().parse(prompt.text) if field is not None}
    except ValueError as error:
        raise ConfigError(f"{path}: prompt {prompt.name!r}: {error}. Write {{{{ for a literal brace.") from None
    if unknown := used - allowed:
        may = sorted(allowed) or "no placeholder"
        raise ConfigError(f"{path}: prompt {prompt.name!r} may use {may}, got {sorted(unknown)}.")
