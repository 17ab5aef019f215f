"""MMBench: 3,000 questions in 20 abilities, each asked with its options in every rotation.

A copy stands at index + k * 1,000,000 and its image cell names the row whose picture it shares; `group` is the index of
the original, `meta` keeps its own. Official metric, circular: right when all rotations are (arXiv 2307.06281).
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, Draft, lettered
from data_pipelines.rows import Row

COPY = 1_000_000
LETTERED = lettered("mmbench")


def draft(row: Row) -> Draft:
    """A row of a published TSV, or of the hub's copy of it."""
    index = row.whole("index")
    read = LETTERED.draft(row)
    return read._replace(group=str(index % COPY), meta={**read.meta, "index": index, "rotation": index // COPY})


MMBENCH = Benchmark(
    title="MMBench",
    licence="Apache-2.0",
    where="https://github.com/open-compass/MMBench (MMBench_DEV_EN.tsv and others), hub id lmms-lab/MMBench",
    split="dev",
    subset="en",
    layouts=(LETTERED._replace(draft=draft),),
)
