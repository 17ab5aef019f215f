"""The files that hold the traces of a run while it grows: one a process, read together, made one in order at the end.

A process alone appends to `traces.jsonl`. Each of several appends to a file of its own beside it, so that no two
write to one file; those files, of however many processes, are part of what is there until they are merged. Traces stand
in them as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sclvlm.keys import KeyIndex, KeySet
from sclvlm.records import Sample, Trace
from sclvlm.runs import part, parts
from sclvlm.self_correction.shares import Share
from sclvlm.storage import AtomicFile, read_placed

FILES = 1 << 16  # more files than there are processes: a place is offset * FILES + file


def own_file(traces: Path, share: Share) -> Path:
    """Where the process of `share` appends."""
    return traces if share.count == 1 else part(traces, share.index)


@dataclass(frozen=True)
class Answered:
    """The conversations that are on disk, and those of them that failed. ordered: in one file, each once, in order."""

    keys: KeySet
    failed: KeySet
    ordered: bool

    def __contains__(self, asked: tuple[Sample, int]) -> bool:
        sample, draw = asked
        return key_of(sample.id, draw) in self.keys

    def __len__(self) -> int:
        return len(self.keys)


def answered(traces: Path, samples: Iterable[Sample] = (), draws: int = 1) -> Answered:
    """All that was answered, in `traces` or beside it; `samples` tell which order is the right one."""
    others, failed = parts(traces), list[str]()
    order = _Order(wanted_keys(samples, draws), kept=not others)
    present = KeySet(order.passing(key for key, _ in _placed([traces, *others], failed)))
    return Answered(present, KeySet(failed), order.kept)


class _Order:
    """Whether keys come in the order of `wanted`, each once; some may be missing."""

    def __init__(self, wanted: Iterator[str], *, kept: bool) -> None:
        self.left, self.kept = wanted, kept

    def passing(self, keys: Iterable[str]) -> Iterator[str]:
        """All of `keys`, looked at."""
        for key in keys:
            self.kept = self.kept and key in self.left  # which takes all that stand before it
            yield key


def _placed(files: Sequence[Path], failed: list[str]) -> Iterator[tuple[str, int]]:
    """Key and place of each conversation in `files`; the keys of those that failed are put into `failed`."""
    for number, file in enumerate(files):
        for start, trace in read_placed(file, Trace):
            key = key_of(*trace.key)
            if trace.failed:
                failed.append(key)
            yield key, start * FILES + number


def key_of(sample: str, draw: int) -> str:
    """The key of one conversation."""
    return f"{draw} {sample}"


def wanted(samples: Iterable[Sample], draws: int) -> Iterator[tuple[Sample, int]]:
    """Every conversation asked for, in order."""
    return ((sample, draw) for sample in samples for draw in range(draws))


def wanted_keys(samples: Iterable[Sample], draws: int) -> Iterator[str]:
    """Their keys."""
    return (key_of(sample.id, draw) for sample, draw in wanted(samples, draws))


def merge(traces: Path, samples: Iterable[Sample], draws: int) -> Answered:
    """Bring everything into `traces`, in the order of `samples`, and remove the other files; nothing where it is so.

    samples: can be gone through more than once. Returns what is in it then. `traces` is replaced at once, and the
    others go only then: whenever this is killed, nothing is lost.
    """
    others = parts(traces)
    if not others and (found := answered(traces, samples, draws)).ordered:
        return found
    files, failed = [traces, *others], list[str]()
    places = KeyIndex(_placed(files, failed))
    with AtomicFile(traces) as whole:
        present = KeySet(_copied(wanted_keys(samples, draws), places, files, whole))
    for file in others:
        file.unlink()
    return Answered(present, KeySet(key for key in failed if key in present), ordered=True)


def _copied(keys: Iterable[str], places: KeyIndex, files: Sequence[Path], whole: AtomicFile) -> Iterator[str]:
    """Those of `keys` that have a place; their lines go into `whole`."""
    with ExitStack() as stack:
        opened = {number: stack.enter_context(file.open("rb")) for number, file in enumerate(files) if file.is_file()}
        for key in keys:
            if (place := places.get(key)) is not None:
                start, number = divmod(place, FILES)
                opened[number].seek(start)
                whole.write(opened[number].readline().decode())
                yield key
