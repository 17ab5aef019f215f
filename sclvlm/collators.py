"""The collator of a policy, by its kind: one that talks, with pictures or without, or one that acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from sclvlm.collation import Collator, Layout, PromptBatch, Record, Size, agreed_features, agreed_layout
from sclvlm.models import Policy
from sclvlm.processes import told
from sclvlm.rendering import Renderer
from sclvlm.trajectories import TrajectoryCollator


class Collates(Protocol):
    """What makes batches of records, and tells how long a record is."""

    @property
    def policy(self) -> Policy:
        """What the batches are for."""
        ...

    @property
    def layout(self) -> Layout:
        """Of the rows."""
        ...

    def __call__(self, records: Sequence[Record]) -> PromptBatch:
        """A batch of records that have the same number of completions."""
        ...

    def length(self, record: Record) -> int:
        """Tokens, or steps, of the longest row."""
        ...

    def size(self, record: Record) -> Size:
        """The same of prompt and completion apart."""
        ...


def plain_collator(
    policy: Policy, features: Literal["auto", "cached", "live"], records: Sequence[Record], *, limit_gb: float
) -> Collates:
    """The collator for `records` in the plain layout. features, limit_gb: see `agreed_features`."""
    if policy.acts:
        return TrajectoryCollator(policy)
    renderer = Renderer(policy)
    return Collator(renderer, encodings=agreed_features(features, renderer, records, limit_gb=limit_gb))


def laid_out(plain: Collates, wanted: Layout | Literal["auto"], records: Sequence[Record]) -> Collates:
    """The same in the layout that `agreed_layout` finds for `records`; a policy that acts has the plain one."""
    if not isinstance(plain, Collator):
        return plain
    layout = told(agreed_layout(wanted, plain.renderer, records, plain.encodings))  # the same in all processes
    return Collator(plain.renderer, layout, plain.encodings)
