"""Figures that come batch by batch, and their means over all records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Tally:
    """Sums and counts by name. A record counts once wherever the batches were cut; a figure may lack records."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, values: Sequence[float]) -> None:
        """Count `values`, one a record, under `name`; no value leaves no trace."""
        for value in values:
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of each figure over the records that have it, in the order in which they came first."""
        return {name: total / self.counts[name] for name, total in self.sums.items()}

    def clear(self) -> None:
        """Begin anew."""
        self.sums.clear()
        self.counts.clear()

    @classmethod
    def together(cls, tallies: Iterable[Tally]) -> Tally:
        """One tally of all the records of `tallies`."""
        whole = cls()
        for each in tallies:
            for name, total in each.sums.items():
                whole.sums[name] = whole.sums.get(name, 0.0) + total
                whole.counts[name] = whole.counts.get(name, 0) + each.counts[name]
        return whole
