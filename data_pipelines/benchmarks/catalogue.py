"""The benchmarks by name, the most used ones first."""

from __future__ import annotations

from data_pipelines.benchmarks.ai2d import AI2D
from data_pipelines.benchmarks.aokvqa import AOKVQA, AOKVQA_DIRECT
from data_pipelines.benchmarks.blindtest import BLINDTEST
from data_pipelines.benchmarks.blink import BLINK
from data_pipelines.benchmarks.chartqa import CHARTQA
from data_pipelines.benchmarks.docvqa import DOCVQA, INFOVQA
from data_pipelines.benchmarks.hallusion_bench import HALLUSION_BENCH
from data_pipelines.benchmarks.layouts import Benchmark
from data_pipelines.benchmarks.mathvista import MATHVISTA
from data_pipelines.benchmarks.mmbench import MMBENCH
from data_pipelines.benchmarks.mme import MME
from data_pipelines.benchmarks.mmevalpro import MMEVALPRO
from data_pipelines.benchmarks.mmmu import MMMU
from data_pipelines.benchmarks.mmstar import MMSTAR
from data_pipelines.benchmarks.mmt_bench import MMT_BENCH
from data_pipelines.benchmarks.nlvr import NLVR
from data_pipelines.benchmarks.pope import POPE
from data_pipelines.benchmarks.puzzlevqa import PUZZLEVQA
from data_pipelines.benchmarks.realworldqa import REALWORLDQA
from data_pipelines.benchmarks.scienceqa import SCIENCEQA
from data_pipelines.benchmarks.seed_bench import SEED_BENCH
from data_pipelines.benchmarks.vqa import OK_VQA, TEXTVQA, VQAV2

BENCHMARKS: dict[str, Benchmark] = {
    "mmstar": MMSTAR,
    "mmbench": MMBENCH,
    "seed_bench": SEED_BENCH,
    "realworldqa": REALWORLDQA,
    "scienceqa": SCIENCEQA,
    "mmt_bench": MMT_BENCH,
    "ai2d": AI2D,
    "mmmu": MMMU,
    "pope": POPE,
    "mme": MME,
    "hallusion_bench": HALLUSION_BENCH,
    "mmevalpro": MMEVALPRO,
    "vqav2": VQAV2,
    "okvqa": OK_VQA,
    "textvqa": TEXTVQA,
    "chartqa": CHARTQA,
    "docvqa": DOCVQA,
    "infovqa": INFOVQA,
    "mathvista": MATHVISTA,
    "aokvqa": AOKVQA,
    "aokvqa_direct": AOKVQA_DIRECT,
    "blink": BLINK,
    "nlvr": NLVR,
    "blindtest": BLINDTEST,
    "puzzlevqa": PUZZLEVQA,
}
