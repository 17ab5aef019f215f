"""Which records make a batch: neighbours in length, of either label, and as many as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sclvlm.collation import cut


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
    return [index for _, index in sorted(placed)]
