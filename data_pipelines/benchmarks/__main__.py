"""Write a public benchmark as samples.

python -m data_pipelines.benchmarks mmstar Lin-Chen/MMStar --out data/mmstar
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_pipelines.arguments import size
from data_pipelines.benchmarks.catalogue import BENCHMARKS
from data_pipelines.benchmarks.importing import build
from sclvlm.errors import SclvlmError
from sclvlm.screening import told


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.benchmarks",
        description="Write a public benchmark as samples: samples.jsonl, images, card.md.",
        epilog="Example: python -m data_pipelines.benchmarks mmbench MMBench_DEV_EN.tsv --out data/mmbench",
    )
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("source", help="a tsv, json, jsonl or parquet file, a folder of them, or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--split", help="split of a folder or a hub id, else the one that is usually reported")
    parser.add_argument("--subset", help="configuration of a hub id, else all, or the one that is usually reported")
    parser.add_argument("--images", type=Path, help="where the pictures lie, if not beside the file")
    parser.add_argument("--limit", type=size, help="read only so many rows, the first ones")
    parser.add_argument("--strict", action="store_true", help="end at the first row that is no sound sample")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write the folder; 0 when it is there afterwards."""
    options = vars(parser().parse_args(argv))
    name, out = options.pop("name"), options.pop("out")
    try:
        tally = build(name, BENCHMARKS[name], options.pop("source"), out, **options)
    except SclvlmError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    lost = f", left out: {told(tally.screen.dropped)}" if tally.screen.dropped else ""
    print(f"{out}: {tally.kept} samples of {tally.read} rows, {tally.images} images{lost}, see {out / 'card.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
