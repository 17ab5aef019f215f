"""What a model would be asked, to the letter and the token, without asking it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sclvlm.engines.context import context_of
from sclvlm.errors import SclvlmError
from sclvlm.models import Policy
from sclvlm.pictures import load_images
from sclvlm.records import Message, Sample, text_message
from sclvlm.rendering import Renderer
from sclvlm.reporting.official import benchmark_of
from sclvlm.self_correction.conversing import Dialogue

MOST = 12  # samples shown for their categories alone
ANSWER = "(answer)"


@dataclass(frozen=True)
class Preview:
    """One sample as it would be asked. All counts are of tokens, special ones included.

    text: the whole conversation as the chat template renders it, with `(answer)` in place of answers. prompt_tokens: of
    the first turn, image_tokens of which stand for pictures. review_tokens: what all reviews add. most_tokens: all
    turns with answers as long as they may be. context: what the model was made for; None where it doesn't say.
    """

    category: str
    id: str
    text: str
    images: tuple[str, ...]
    prompt_tokens: int
    image_tokens: int
    review_tokens: int
    most_tokens: int
    context: int | None

    def __str__(self) -> str:
        named = f" ({self.category})" if self.category else ""
        pictures = "".join(f"picture: {path}\n" for path in self.images)
        limit = f", the model was made for {self.context}" if self.context else ""
        short = "\nTOO LONG: the prompt leaves no room for an answer." if self.too_long else ""
        return (
            f"--- sample {self.id}{named}\n{pictures}{self.text}\n"
            f"--- {self.prompt_tokens} tokens in the first prompt ({self.image_tokens} for pictures), "
            f"{self.review_tokens} in reviews, {self.most_tokens} with the longest answers{limit}{short}"
        )

    @property
    def too_long(self) -> bool:
        """Whether the first prompt does not fit."""
        return self.context is not None and self.prompt_tokens >= self.context

    def facts(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "images": list(self.images), "too_long": self.too_long}


def one_a_kind(samples: Iterable[Sample]) -> list[Sample]:
    """The first sample of each benchmark, then those of further categories while there are less than twelve in all.

    In their order. Of a file without benchmarks and categories the first one.
    """
    firsts: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        firsts.setdefault((benchmark_of(sample), sample.category), sample)
    heads = {benchmark: (benchmark, category) for benchmark, category in reversed(firsts)}.values()
    further = [kind for kind in firsts if kind not in heads]
    kept = {*heads, *further[: max(MOST - len(heads), 0)]}
    return [sample for kind, sample in firsts.items() if kind in kept]


def previews(samples: Iterable[Sample], policy: Policy, dialogue: Dialogue, *, max_new_tokens: int) -> list[Preview]:
    """One sample of each benchmark and of some categories, see `one_a_kind`.

    policy: needs no weights. Raises SclvlmError for a policy that acts, and for a picture that can't be opened.
    """
    if policy.acts:
        raise SclvlmError(f"model.path {policy.ref.path!r}: a policy that acts reads no prompt. Leave --dry-run out.")
    return [_preview(sample, Renderer(policy), dialogue, max_new_tokens) for sample in one_a_kind(samples)]


def _preview(sample: Sample, renderer: Renderer, dialogue: Dialogue, max_new_tokens: int) -> Preview:
    opening = dialogue.opening((sample, 0))
    first = renderer.text([opening.message], reply=True)
    conversation = list(_conversation(opening.message, dialogue))
    [ids] = renderer.encode([first], [load_images(sample.images, [opening.message])]).ids
    spelled = len(renderer.tokens(first))
    whole = renderer.text(conversation, reply=True)
    answers = len(renderer.tokens(ANSWER)) * (dialogue.turns - 1)
    review = len(renderer.tokens(whole)) - spelled - answers
    return Preview(
        category=sample.category,
        id=sample.id,
        text=whole,
        images=sample.images,
        prompt_tokens=len(ids),
        image_tokens=len(ids) - spelled + len(sample.images),
        review_tokens=review,
        most_tokens=len(ids) + review + dialogue.turns * max_new_tokens,
        context=context_of(renderer.policy.model.config),
    )


def _conversation(opening: Message, dialogue: Dialogue) -> Iterator[Message]:
    """With reviews as they are where nothing is known of the answer."""
    yield opening
    for review in dialogue.follow_ups:
        yield text_message("assistant", ANSWER)
        yield review
