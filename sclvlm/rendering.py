"""The sole owner of chat templates: messages and images in, token ids and model inputs out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sclvlm.errors import SclvlmError
from sclvlm.models import Policy, accepts, has_cross_attention
from sclvlm.pictures import PictureError
from sclvlm.records import Message, count_images, message_text

TYPE_KEYS = ("token_type_ids", "mm_token_type_ids")
SEQUENCE_KEYS = ("input_ids", "attention_mask", "labels")


class Encoded(NamedTuple):
    """Token ids per conversation, images expanded, and the image tensors of all of them together.

    types: for models that ask, under the argument's name, what each id is (one that stands for a picture, say) or sees
    (which pictures): a number or lists of them; as long as `ids`.
    """

    ids: list[list[int]]
    images: dict[str, Tensor]
    types: dict[str, list[list[Any]]]


class Reply(NamedTuple):
    """Token ids of a completion, and whether the assistant writes each; tools and users write the others."""

    ids: list[int]
    written: list[bool]


class _Turn(NamedTuple):
    """Token ids of one turn of the assistant, and of what is said until its next one."""

    own: list[int]
    between: list[int]


@dataclass(frozen=True)
class Renderer:
    """Renders conversations for one policy's processor."""

    policy: Policy

    def text(self, messages: Sequence[Message], *, reply: bool) -> str:
        """`messages` through the chat template; `reply` opens the assistant's next turn."""
        shaped = [self._shaped(message) for message in messages]
        try:
            text: str = self.policy.processor.apply_chat_template(shaped, tokenize=False, add_generation_prompt=reply)
        except ValueError as error:
            raise SclvlmError(f"model.path {self.policy.ref.path!r}: {error}") from error
        return text

    def encode(self, texts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> Encoded:
        """Rendered `texts` with the images of each, in order, to ids and image tensors.

        Raises PictureError for images that the processor refuses (of an extreme shape, say), SclvlmError for a model
        that takes no images, or only texts with equally many of them together.
        """
        if not any(images):
            return Encoded([self.tokens(text) for text in texts], {}, {})
        self._check_images(images)
        try:
            with _padding(self.policy):
                batch = self.policy.processor(
                    text=list(texts),
                    images=[list(each) for each in images],
                    padding=True,
                    add_special_tokens=False,
                    return_tensors="pt",
                )
        except ValueError as error:
            raise PictureError(f"the model's processor refuses the pictures: {error}") from error
        ids, content = batch["input_ids"], batch["attention_mask"].bool()
        others = {key: value for key, value in batch.items() if key not in SEQUENCE_KEYS}
        told = {key: value for key, value in others.items() if _tells_of_tokens(value, ids)}
        return Encoded(
            _unpadded(ids, content),
            {key: value for key, value in others.items() if key not in told},
            {key: _unpadded(value, content) for key, value in told.items() if accepts(self.policy.model, key)},
        )

    def tokens(self, text: str) -> list[int]:
        """`text`, special tokens included as it spells them, to ids. Images in it stay one token each."""
        ids: list[int] = self.policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def completion(self, prompt: Sequence[Message], completion: Sequence[Message]) -> list[int]:
        """The ids that `completion` adds to the rendered `prompt`, up to and with the end of its last turn."""
        return self.reply(prompt, completion).ids

    def reply(self, prompt: Sequence[Message], completion: Sequence[Message]) -> Reply:
        """The same, and which of the ids the assistant writes: what stands between its turns is said to it.

        The cuts are made in the text, right where the model would begin to write. What a template puts behind
        the end of the last turn is not the model's to write, and is left out. Raises SclvlmError for a completion that
        doesn't begin and end with the assistant or holds pictures, and for a template that writes the beginning of a
        conversation otherwise once more follows.
        """
        own = [place for place, message in enumerate(completion) if message["role"] == "assistant"]
        if own[:1] != [0] or own[-1] != len(completion) - 1:
            raise SclvlmError("a completion must begin and end with an assistant message, got " + _roles(completion))
        if count_images(list(completion)):
            raise SclvlmError("a completion must hold no image placeholder: pictures belong to the prompt.")
        said = [self.text([*prompt, *completion[:place]], reply=True) for place in own]
        ids: list[int] = []
        written: list[bool] = []
        for place, before, behind in zip(own, said, [*said[1:], None], strict=True):
            turn = self._turn([*prompt, *completion[: place + 1]], before, behind)
            ids += turn.own + turn.between
            written += [True] * len(turn.own) + [False] * len(turn.between)
        return Reply(ids, written)

    def _turn(self, conversation: Sequence[Message], before: str, behind: str | None) -> _Turn:
        """The last turn of `conversation`, opened by the text `before`; `behind` opens the next one, if there is one.

        Where a template ends no turn, only the last one is given an end: within a conversation the model reads none.
        """
        joined = self.text(conversation, reply=False)
        added = joined[len(before) :]
        if not joined.startswith(before) or not (behind or joined).startswith(before + added.rstrip()):
            raise SclvlmError(
                f"model.path {self.policy.ref.path!r}: its chat template changes the prompt once a reply follows, "
                "or a reply once more follows, so it can't be scored as the model would write it."
            )
        ids = self._behind(before, added)
        longer = ids if behind is None else self._behind(before, behind[len(before) :])
        spelled = sum(token in self.policy.stop_ids for token in self.tokens(message_text(conversation[-1])))
        if len(self._stops(ids)) > spelled:  # a reply that quotes the end of a turn does not end there
            end = self._stops(longer)[spelled] + 1
            return _Turn(longer[:end], [] if behind is None else longer[end:])
        own = self._behind(before, added.rstrip())
        if behind is None:
            return _Turn([*own, self.policy.stop_ids[0]], [])
        if longer[: len(own)] == own:
            return _Turn(own, longer[len(own) :])
        said = before + added.rstrip()
        return _Turn(own, self._behind(said, behind[len(said) :]))

    def _stops(self, ids: Sequence[int]) -> list[int]:
        return [position for position, token in enumerate(ids) if token in self.policy.stop_ids]

    def further(self, before: Sequence[Message], later: Sequence[Message]) -> list[int] | None:
        """The ids that stand behind `before`, a reply opened, once `later` was said too and the next reply is opened.

        later: the assistant's reply to `before`, then a message. Images are one token each. None when the template
        writes `before` otherwise once more follows, or a token spans its end: then all must be encoded anew.
        """
        said, joined = self.text(before, reply=True), self.text([*before, *later], reply=True)
        held, whole = self.tokens(said), self.tokens(joined)
        return whole[len(held) :] if joined.startswith(said) and whole[: len(held)] == held else None

    def _behind(self, said: str, added: str) -> list[int]:
        """The ids of `added` where it stands, behind `said`.

        Tokenizers of the SentencePiece kind would put a space before an `added` that stands alone. Where the
        two texts share a token, the cut goes through it: the model writes on from the ids of `said`.
        """
        before, joint = self.tokens(said), self.tokens(said + added)
        return joint[len(before) :] if joint[: len(before)] == before else self.tokens(added)

    def _shaped(self, message: Message) -> Message:
        """Parts with only the keys they need; plain text for models that take no images."""
        content = message["content"]
        if not isinstance(content, str):
            content = [_part(part) for part in content]
            if self.policy.processor is self.policy.tokenizer:
                content = "".join(part.get("text", "") for part in content)
        elif self.policy.processor is not self.policy.tokenizer:
            content = [{"type": "text", "text": content}]
        return {**message, "content": content}  # a template reads tool calls and names too

    def _check_images(self, images: Sequence[Sequence[Image.Image]]) -> None:
        path, counts = self.policy.ref.path, sorted({len(each) for each in images})
        if self.policy.processor is self.policy.tokenizer:
            raise SclvlmError(f"model.path {path!r}: a text-only model can't answer about images.")
        if len(counts) > 1 and has_cross_attention(self.policy.model):
            # Tokens before a row's first picture attend to the padding among pictures.
            raise SclvlmError(
                f"model.path {path!r}: in a batch this model wants equally many images a row, got {counts[0]} and "
                f"{counts[-1]}. Train on such records apart, or in batches of one."
            )


@contextmanager
def _padding(policy: Policy) -> Iterator[None]:
    """Inside, the policy's tokenizer has something to fill rows with; processors ask for it, whatever it is."""
    words, lacks = policy.tokenizer, policy.tokenizer.pad_token is None
    if lacks:
        words.pad_token = words.convert_ids_to_tokens(policy.pad_id)
    try:
        yield
    finally:
        if lacks:
            words.pad_token = None


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image"} if part["type"] == "image" else {"type": "text", "text": part["text"]}


def _tells_of_tokens(values: Tensor, ids: Tensor) -> bool:
    """Whether `values` are of `ids`, padded as these are, and not of pictures."""
    return values.shape[:2] == ids.shape and not values.is_floating_point()


def _unpadded(rows: Tensor, content: Tensor) -> list[list[Any]]:
    return [row[mask].tolist() for row, mask in zip(rows, content, strict=True)]


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(message["role"] for message in messages) or "nothing"


def pad(rows: Sequence[Sequence[Any]], fill: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Ragged `rows` as one (rows, longest) tensor of ids, and its mask: 1 for content, 0 for padding.

    Where rows are of lists in place of ids, the tensor goes on with their shape.
    """
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width, *torch.tensor(rows[0]).shape[1:]), fill)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        span = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, span] = torch.tensor(row, dtype=torch.long)
        mask[index, span] = 1
    return ids, mask


def position_ids(mask: Tensor) -> Tensor:
    """For each place the number of real tokens before it in its row; `mask` (rows, length) is 0 at padding."""
    return mask.cumsum(1).sub(1).clamp(min=0)
