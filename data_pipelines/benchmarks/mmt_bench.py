"""MMT-Bench: 3,127 validation questions in 32 meta-tasks and 162 subtasks, with up to 9 options and several pictures.

Official metric: mean over questions; means by category.
"""

from __future__ import annotations

from data_pipelines.benchmarks.layouts import Benchmark, lettered

MMT_BENCH = Benchmark(
    title="MMT-Bench",
    licence="see the source",
    where="hub id Kaining/MMT-Bench (MMT-Bench_VAL.tsv and others)",
    split="val",
    layouts=(lettered("mmt"),),
    in_turn=True,
)
