"""Text pairs that prefer a single word to sentences around it, and questions to see whether a model follows.

    python -m data_pipelines.concise --out data/concise

Each question asks which of three words belongs to a kind. `pairs.jsonl` and `held_out.jsonl` prefer the word alone to
the same word in sentences; `test.jsonl` asks about words of which none stands in the other two. An answer counts as
right when it is the word and nothing else, or is said to be the answer; who is right in other sentences is not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_pipelines.cards import table
from sclvlm.records import AnswerKind, PreferencePair, Sample, text_message
from sclvlm.storage import partial_path, write_records, write_text

KINDS: dict[str, str] = {  # how a question calls each kind, and words of it
    "an animal": "tiger horse rabbit camel wolf goat otter beaver monkey donkey lion sheep zebra badger moose ferret",
    "a fruit": "apple banana cherry grape lemon mango peach pear plum pineapple apricot melon papaya fig kiwi guava",
    "a tool": "hammer saw wrench drill chisel pliers screwdriver axe shovel rake spade crowbar mallet clamp trowel "
    "anvil",
    "a colour": "red blue green yellow purple pink brown black white grey violet crimson turquoise beige maroon indigo",
    "a piece of furniture": "table chair sofa desk bench wardrobe stool bed shelf cupboard armchair couch dresser "
    "bookcase cabinet ottoman",
    "a musical instrument": "piano violin guitar flute trumpet drum cello harp clarinet trombone oboe banjo tuba "
    "saxophone mandolin accordion",
    "a vehicle": "car bus truck bicycle train tram boat ship scooter tractor van motorcycle ferry taxi canoe "
    "helicopter",
    "a piece of clothing": "shirt coat jacket trousers skirt sock glove hat scarf sweater dress blouse cardigan "
    "jeans waistcoat pyjamas",
    "a part of the body": "arm leg hand foot head knee elbow shoulder ankle finger nose ear wrist thumb heel chin",
    "a vegetable": "carrot potato onion cabbage spinach pea bean leek turnip celery broccoli cucumber radish "
    "cauliflower parsnip lettuce",
}
TAUGHT = 11  # words of each kind to learn from; the others are asked about in the test

QUESTIONS = (
    "Which of these is {kind}: {words}?",
    "Here are three words: {words}. Which one is {kind}?",
    "One of the words {words} names {kind}. Which one?",
)
SENTENCES = (
    "The word that names {kind} is {word}. The other two words name something else.",
    "Of the three words, {word} is the one that is {kind}, and neither of the others is.",
    "Let us look at the words one by one. I think that {word} is {kind}, and the others are not.",
    "Sure! {word} is {kind}. Please tell me if you would like to know more about it.",
)


class Asked(NamedTuple):
    """One question, which kind it asks for, and the word that answers it."""

    id: str
    text: str
    kind: str
    word: str


class Counts(NamedTuple):
    """How many records of each file."""

    pairs: int = 160
    held_out: int = 32
    test: int = 96


def words_of(taught: bool) -> dict[str, list[str]]:
    """The words of each kind to learn from, or those to ask about in the test."""
    return {kind: words.split()[:TAUGHT] if taught else words.split()[TAUGHT:] for kind, words in KINDS.items()}


def questions(name: str, words: Mapping[str, Sequence[str]], count: int, seed: int) -> list[Asked]:
    """`count` different questions over `words`; the same for the same name and seed."""
    drawn, found = random.Random(f"{seed} {name}"), dict[str, Asked]()
    while len(found) < count:
        kinds = drawn.sample(sorted(words), 3)
        three = [drawn.choice(words[kind]) for kind in kinds]
        place = drawn.randrange(3)
        listed = f"{three[0]}, {three[1]}, {three[2]}"
        text = drawn.choice(QUESTIONS).format(kind=kinds[place], words=listed)
        found.setdefault(text, Asked(f"{name}-{len(found)}", text, kinds[place], three[place]))
    return list(found.values())


def pair(asked: Asked, sentence: str) -> PreferencePair:
    """The word alone, preferred to the word in `sentence`."""
    wordy = sentence.format(kind=asked.kind, word=asked.word)
    return PreferencePair(
        id=asked.id,
        prompt=[text_message("user", asked.text)],
        chosen=[text_message("assistant", asked.word)],
        rejected=[text_message("assistant", wordy[0].upper() + wordy[1:])],
        source="rule: the word alone",
    )


def sample(asked: Asked) -> Sample:
    """A question whose right answer is the word and nothing else."""
    return Sample(id=asked.id, question=asked.text, kind=AnswerKind.TEXT, answer=asked.word, category=asked.kind)


def write(out: Path, counts: Counts, seed: int) -> None:
    """Everything into the folder `out`, which appears whole or not at all."""
    partial = partial_path(out)
    shutil.rmtree(partial, ignore_errors=True)
    learnt = questions("taught", words_of(taught=True), counts.pairs + counts.held_out, seed)
    pairs = list(_pairs(learnt, seed))
    test = questions("test", words_of(taught=False), counts.test, seed)
    write_records(partial / "pairs.jsonl", pairs[: counts.pairs])
    write_records(partial / "held_out.jsonl", pairs[counts.pairs :])
    write_records(partial / "test.jsonl", map(sample, test))
    write_text(partial / "card.md", _card(counts, seed))
    os.replace(partial, out)


def _pairs(asked: Sequence[Asked], seed: int) -> Iterator[PreferencePair]:
    drawn = random.Random(seed)
    return (pair(each, drawn.choice(SENTENCES)) for each in asked)


def _card(counts: Counts, seed: int) -> str:
    rows = [
        ("pairs.jsonl", counts.pairs, "pairs to learn from"),
        ("held_out.jsonl", counts.held_out, "pairs about other questions on the same words"),
        ("test.jsonl", counts.test, "questions about other words"),
    ]
    return (
        f"# Concise answers\n\nWritten by `data_pipelines.concise` with seed {seed}, in words of this project.\n\n"
        f"{table(('file', 'records', 'what'), rows)}\n"
        f"{len(KINDS)} kinds of 16 words each, {TAUGHT} to learn from and {16 - TAUGHT} to test with.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the folder unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the questions drawn")
    asked = parser.parse_args(arguments)
    if asked.out.exists():
        print(f"{asked.out}: there already; remove it to make it anew")
        return 0
    write(asked.out, Counts(), asked.seed)
    print(f"{asked.out}: made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
