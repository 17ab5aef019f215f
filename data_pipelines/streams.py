"""Data sets that `datasets` opens as streams, without a second copy of them on disk; pictures stay as stored."""

from __future__ import annotations

from typing import Any

VALIDATION = ("validation", "val", "valid", "val2014")


def loaded(name: str, split: str, subset: str | None = None, **options: Any) -> Any:
    """The rows of a hub id, a folder, or a builder such as "json" with `data_files`.

    Raises what `datasets.load_dataset` raises: OSError, ValueError, RuntimeError.
    """
    from datasets import load_dataset

    which = (name,) if subset is None else (name, subset)
    data = load_dataset(*which, split=split if options else named_split(name, split, subset), streaming=True, **options)
    features = undecoded(data.features)
    return data if features == data.features else data.cast(features)


def ways(split: str) -> tuple[str, ...]:
    """How `split` may be called: the validation split has several names."""
    return VALIDATION if split in VALIDATION else (split,)


def named_split(name: str, split: str, subset: str | None) -> str:
    """What the data set itself calls `split`; itself where it has none of its names."""
    if len(ways(split)) == 1:
        return split
    from datasets import get_dataset_split_names

    own = get_dataset_split_names(name, subset)
    return next((way for way in (split, *ways(split)) if way in own), split)


def configurations(name: str) -> list[str | None]:
    """The configurations of a hub id, all of which make it up; [None] where it has one."""
    from datasets import get_dataset_config_names

    names = get_dataset_config_names(name)
    return [None] if len(names) < 2 else names


def undecoded(features: Any) -> Any:
    """`features` with pictures as the bytes and paths that are stored."""
    from datasets import Features, List
    from datasets import Image as Picture

    if isinstance(features, Picture):
        return Picture(decode=False)
    if isinstance(features, List):
        return List(undecoded(features.feature))
    if isinstance(features, dict):
        kind = Features if isinstance(features, Features) else dict
        return kind({name: undecoded(each) for name, each in features.items()})
    return features
