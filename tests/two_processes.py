"""What each process of tests/test_processes.py does: the trainings that a JSON file describes, one behind the other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from sclvlm.config import ModelSection, TrainSection
from sclvlm.trainer.joining import part
from sclvlm.training import train


def main(file: str) -> None:
    """Each training has a folder, pairs, a model, settings and an environment."""
    torch.set_num_threads(1)
    for asked in json.loads(Path(file).read_text()):
        os.environ.update(asked["environment"])
        model, settings = ModelSection(**asked["model"]), TrainSection(**asked["settings"])
        train(Path(asked["pairs"]), Path(asked["folder"]), model=model, settings=settings, seed=3)
        for name in asked["environment"]:
            del os.environ[name]
    part()


if __name__ == "__main__":
    main(sys.argv[1])
