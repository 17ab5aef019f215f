"""Which records make a batch: neighbours in length, of either label, and as many as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from sclvlm.collation import Size, cut


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """Every index once an epoch, shuffled, so that neighbours have about the same length.

    Shuffled indices are cut into runs of `group` batches; each run is sorted by length and its batches are
    shuffled again. A batch that is not full comes last: it would shift the borders of all behind it.
    The order depends on (seed, epoch) alone, so a resumed epoch is the one that was left.

    labels: where records have one, each batch gets its share of both, see `interleaved`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int,
        group: int = 50,
        labels: Sequence[bool] | None = None,
    ) -> None:
        self.lengths, self.batch_size, self.seed, self.group, self.epoch = lengths, batch_size, seed, group, 0
        self.labels = labels

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = epoch_generator(self.seed, self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for run in cut(order, self.group * self.batch_size):
            grouped = interleaved(sorted(run, key=self.lengths.__getitem__), self.labels)
            batches = list(cut(grouped, self.batch_size))
            full = len(run) // self.batch_size
            for position in torch.randperm(full, generator=generator).tolist():
                yield from batches[position]
            for rest in batches[full:]:
                yield from rest


class TokenBudget(NamedTuple):
    """What a batch may hold. A record that is larger by itself is a batch of its own."""

    tokens: int  # padding included
    completions: int  # a record
    shared: bool  # one row a prompt, else one a completion
    most: int | None = None  # records, whatever their tokens

    def width(self, size: Size) -> int:
        """Tokens of a row as long as `size` says."""
        return size.prompt + size.completion * (self.completions if self.shared else 1)

    def padded(self, records: int, size: Size) -> int:
        """Tokens of a batch of `records` whose longest prompt and longest completion are those of `size`."""
        return records * (1 if self.shared else self.completions) * self.width(size)

    def holds(self, records: int, size: Size) -> bool:
        """Whether they fit."""
        return records == 1 or (self.padded(records, size) <= self.tokens and records <= (self.most or records))


class TokenBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Batches of records of similar length, as many as fit in a budget of tokens; every index once an epoch.

    Records are put in the order of their length, the longest first, and cut where the next one would not fit. So the
    number of batches is the same in each epoch, as the Trainer's schedule takes it to be: an epoch shuffles the
    batches, and among them the records of one size. Depends on (seed, epoch) alone, so a resumed epoch is the one
    that was left. labels: see `interleaved`.
    """

    def __init__(
        self, sizes: Sequence[Size], budget: TokenBudget, *, seed: int, labels: Sequence[bool] | None = None
    ) -> None:
        self.sizes, self.budget, self.seed, self.labels, self.epoch = sizes, budget, seed, labels, 0
        self.sampler = self  # where accelerate looks for set_epoch when a resumed epoch is wrapped
        self._ends = list(self._cut(self._ordered(range(len(sizes)))))

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        generator = epoch_generator(self.seed, self.epoch)
        order = self._ordered(torch.randperm(len(self.sizes), generator=generator).tolist())
        batches = [order[start:end] for start, end in zip([0, *self._ends], self._ends, strict=False)]
        for position in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[position]

    def _ordered(self, indices: Sequence[int]) -> list[int]:
        """By size, of one size as they come: at each place the same size, and the same label, in all epochs."""
        widths = [(-self.budget.width(size), -size.prompt) for size in self.sizes]
        return interleaved(sorted(indices, key=widths.__getitem__), self.labels)

    def _cut(self, order: Sequence[int]) -> Iterator[int]:
        """The places behind the last record of each batch."""
        start, longest = 0, Size(0, 0)
        for place, index in enumerate(order):
            size = Size(*map(max, longest, self.sizes[index]))
            if not self.budget.holds(place - start + 1, size):
                yield place
                start, size = place, self.sizes[index]
            longest = size
        if order:
            yield len(order)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers that depend on seed and epoch alone."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def interleaved(order: Sequence[int], labels: Sequence[bool] | None) -> list[int]:
    """`order` with the indices of either label spread evenly, each label's in their order; None changes nothing.

    The k-th of n indices of a label comes to the place (k + 1/2) / n of the way: wherever the result is cut into
    batches, one holds of each label its share, give or take one index.
    """
    if labels is None:
        return list(order)
    placed = []
    for side in (True, False):
        own = [index for index in order if labels[index] is side]
        placed += [((rank + 0.5) / len(own), index) for rank, index in enumerate(own)]
    return [index for _, index in sorted(placed, key=lambda each: each[0])]
