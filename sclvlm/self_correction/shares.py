"""Which samples each of several processes answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sclvlm.records import Sample


@dataclass(frozen=True)
class Share:
    """The part of one among `count` processes; `index` counts from 0."""

    index: int = 0
    count: int = 1


ALONE = Share()


def dealt(samples: Iterable[Sample], share: Share, *, together: int) -> Iterator[Sample]:
    """The samples of `share`, in order. Each sample belongs to one share, whatever has been answered before.

    Neighbours with the same pictures stay together, up to `together` of them, so that one process can encode those
    once; what stays together goes to the processes in turn.
    """
    run, length, pictures = -1, 0, None
    for sample in samples:
        if sample.images and sample.images == pictures and length < together:
            length += 1
        else:
            run, length, pictures = run + 1, 1, sample.images
        if run % share.count == share.index:
            yield sample
