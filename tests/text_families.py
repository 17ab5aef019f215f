"""Tiny random language models, without eyes, that the layouts are tested with; `families` has those that see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf

from tests.tiny import ends, text_config, tokenizer

SHORT_WINDOW = 9  # tokens: shorter than every prompt and than some replies

Parts = tuple[Any, Any]  # model and processor


def llama() -> Parts:
    """A language model without eyes."""
    words = tokenizer()
    return tf.LlamaForCausalLM(tf.LlamaConfig(**text_config(words))), words


def mistral() -> Parts:
    """Mistral: the same window in all layers."""
    words = tokenizer()
    return tf.MistralForCausalLM(tf.MistralConfig(**text_config(words), sliding_window=SHORT_WINDOW)), words


def qwen2() -> Parts:
    """Qwen2: a window in the later layers."""
    words = tokenizer()
    windows = {"use_sliding_window": True, "sliding_window": SHORT_WINDOW, "max_window_layers": 1}
    return tf.Qwen2ForCausalLM(tf.Qwen2Config(**text_config(words), **windows)), words


def qwen3() -> Parts:
    """Qwen3."""
    words = tokenizer()
    return tf.Qwen3ForCausalLM(tf.Qwen3Config(**text_config(words), head_dim=8)), words


def smollm3() -> Parts:
    """SmolLM3: layers with and without positions."""
    words = tokenizer()
    return tf.SmolLM3ForCausalLM(tf.SmolLM3Config(**text_config(words), no_rope_layers=[1, 0])), words


def gemma2() -> Parts:
    """Gemma 2: every other layer has a window, scores are capped."""
    words = tokenizer()
    settings = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": SHORT_WINDOW}
    return tf.Gemma2ForCausalLM(tf.Gemma2Config(**text_config(words), **settings)), words


def gemma3_settings(words: Any) -> tf.Gemma3TextConfig:
    settings = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": SHORT_WINDOW}
    kinds = ["sliding_attention", "full_attention"]
    return tf.Gemma3TextConfig(**text_config(words), **settings, layer_types=kinds)


def gemma3_text() -> Parts:
    """Gemma 3 without eyes: windows, and other positions inside them."""
    words = tokenizer()
    return tf.Gemma3ForCausalLM(gemma3_settings(words)), words


def gpt2() -> Parts:
    """GPT-2: learned absolute positions."""
    words = tokenizer()
    size = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=len(words), **size, **ends(words))), words


def qwen3_next() -> Parts:
    """Qwen3-Next: layers of linear attention between others."""
    words = tokenizer()
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8}
    config = tf.Qwen3NextConfig(
        **text_config(words),
        **linear,
        linear_value_head_dim=8,
        head_dim=8,
        num_experts=0,
        layer_types=["linear_attention", "full_attention"],
    )
    return tf.Qwen3NextForCausalLM(config), words


def mamba() -> Parts:
    """Mamba: recurrent throughout."""
    words = tokenizer()
    config = tf.MambaConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, state_size=4, **ends(words))
    return tf.MambaForCausalLM(config), words


READING: dict[str, Callable[[], Parts]] = {
    "gemma2": gemma2,
    "gemma3_text": gemma3_text,
    "gpt2": gpt2,
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "smollm3": smollm3,
}
