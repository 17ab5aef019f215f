"""Tiny models of the families whose processors tell more of each token than its id and whether it is padding."""

from __future__ import annotations

import torch
import transformers as tf

from tests.text_families import Parts
from tests.tiny import text_config, tokenizer


def ernie() -> Parts:
    """ERNIE-4.5-VL: experts of their own for the tokens of pictures and for the marks around them."""
    tokens = {
        "image_token": "<|image_pad|>",
        "image_start_token": "<|vision_start|>",
        "image_end_token": "<|vision_end|>",
        "video_token": "<|video_pad|>",
        "video_start_token": "<film>",
        "video_end_token": "</film>",
    }
    words = tokenizer("<|vision_start|><|image_pad|><|vision_end|>", more=["<film>", "</film>"], **tokens)
    experts = {"moe_intermediate_size": [24, 12], "moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = tf.Ernie4_5_VLMoeConfig(
        text_config={**text_config(words), "rope_parameters": rope, **experts, "mlp_layer_types": ["sparse", "sparse"]},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4},
        **{f"{name}_id": words.convert_tokens_to_ids(token) for name, token in tokens.items()},
        tie_word_embeddings=False,
    )
    pictures = tf.Ernie4_5_VLMoeImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 56 * 84})
    films = tf.Ernie4_5_VLMoeVideoProcessor(draw_on_frames=False)
    processor = tf.Ernie4_5_VLMoeProcessor(pictures, words, films, chat_template=words.chat_template)
    return tf.Ernie4_5_VLMoeForConditionalGeneration(config), processor


def mllama() -> Parts:
    """Llama 3.2 Vision: some layers look at the tiles of pictures, which stand beside the row."""
    words = tokenizer(image_token="<image>", bos_token="<|im_start|>")
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_global_layers": 1}
    tower |= {"attention_heads": 4, "image_size": 64, "patch_size": 32, "max_num_tiles": 4}
    layers = {"num_hidden_layers": 3, "cross_attention_layers": [1]}
    shapes = [[wide, high] for wide in range(1, 5) for high in range(1, 5) if wide * high <= 4]
    config = tf.MllamaConfig(
        vision_config={
            **tower,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "supported_aspect_ratios": shapes,
        },
        text_config={**text_config(words), **layers, "bos_token_id": words.bos_token_id},
        image_token_index=words.image_token_id,
    )
    model = tf.MllamaForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):  # shut when new
            torch.nn.init.ones_(parameter)
    pictures = tf.MllamaImageProcessor(size={"height": 64, "width": 64}, max_image_tiles=4)
    return model, tf.MllamaProcessor(pictures, words, chat_template=words.chat_template)
