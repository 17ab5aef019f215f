"""A policy that acts from pixels: convolutions over each frame, a small causal transformer over frames and actions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutput


class AgentConfig(PreTrainedConfig):  # type: ignore[misc]
    """actions: that there are to choose from. pixels: a frame's side; patch: of the squares it is cut into.

    channels: of the convolutions. context: steps that each layer looks back, the present one among them.
    """

    model_type = "sclvlm_agent"

    actions: int = 4
    pixels: int = 36
    patch: int = 4
    channels: int = 32
    hidden_size: int = 64
    intermediate_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    context: int = 16
    initializer_range: float = 0.5  # of the embedding of actions
    tie_word_embeddings: bool = False


class AgentPolicy(PreTrainedModel):  # type: ignore[misc]
    """The log-odds of the next action, given the frames so far and the actions between them.

    A step's token is what its frame shows plus what was done before it. How far back a step lies is all that its
    position tells, so that an episode may be of any length.
    """

    config_class = AgentConfig
    base_model_prefix = "agent"
    main_input_name = "frames"

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(config)
        side = config.pixels // config.patch
        self.eye = nn.Sequential(
            nn.Conv2d(3, config.channels, config.patch, stride=config.patch),
            nn.ReLU(),
            nn.Conv2d(config.channels, config.channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.channels, config.channels, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(config.channels * side * side, config.hidden_size),
        )
        self.embed_actions = nn.Embedding(config.actions + 1, config.hidden_size)  # the last one: nothing done yet
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.actions)
        self.post_init()

    def forward(
        self,
        frames: Tensor,
        actions: Tensor,
        logits_to_keep: Tensor | int = 0,
        use_cache: bool = False,
        **_: Any,
    ) -> CausalLMOutput:
        """frames: uint8 (rows, L, pixels, pixels, 3), one before each action. actions: (rows, L).

        A row's own steps come first: what stands behind them changes nothing before it. logits_to_keep: the columns
        whose logits are wanted, or how many of the last; 0 is all. The logits are (rows, columns, actions).
        """
        return CausalLMOutput(logits=self.decide(self.see(frames), actions, logits_to_keep))

    def get_input_embeddings(self) -> nn.Module:
        """Of actions."""
        return self.embed_actions

    def get_output_embeddings(self) -> nn.Module:
        """To actions."""
        return self.head

    def see(self, frames: Tensor) -> Tensor:
        """What each frame shows: (rows, L, pixels, pixels, 3) uint8 to (rows, L, hidden)."""
        images = frames.flatten(0, 1).permute(0, 3, 1, 2)
        seen: Tensor = self.eye(images.to(self.head.weight.dtype) / 255)
        return seen.view(*frames.shape[:2], -1)

    def decide(self, seen: Tensor, actions: Tensor, logits_to_keep: Tensor | int = 0) -> Tensor:
        """The logits, of frames that were seen before. actions: (rows, L), each the one chosen at its frame."""
        nothing = torch.full_like(actions[:, :1], self.config.actions)
        hidden = seen + self.embed_actions(torch.cat([nothing, actions[:, :-1]], 1))
        for layer in self.layers:
            hidden = layer(hidden)
        columns = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits: Tensor = self.head(self.norm(hidden[:, columns]))
        return logits

    def _init_weights(self, module: nn.Module) -> None:
        """Weights as loud as their inputs are many: a fixed width would drown an eye of some thousand inputs."""
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d | nn.Linear):
            init.normal_(module.weight, std=math.sqrt(1 / module.weight[0].numel()))
        if isinstance(module, _Layer):
            init.zeros_(module.ago)


class _Layer(nn.Module):
    """Attention over the last `context` steps, then a perceptron; both read a normed residual stream."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__()
        self.heads, width = config.num_attention_heads, config.hidden_size
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width) for _ in range(4))
        self.up_proj = nn.Linear(width, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, width)
        self.ago = nn.Parameter(torch.zeros(self.heads, config.context))  # added to the scores of a step so long ago

    def forward(self, hidden: Tensor) -> Tensor:
        normed = self.attention_norm(hidden)
        query, key, value = (
            project(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(hidden.shape[1]).to(query.dtype))
        hidden = hidden + self.o_proj(mixed.transpose(1, 2).flatten(2))
        widened = F.gelu(self.up_proj(self.mlp_norm(hidden)))
        added: Tensor = self.down_proj(widened)
        return hidden + added

    def _bias(self, length: int) -> Tensor:
        """(heads, length, length): by how many steps ago; minus infinity for what is to come or forgotten."""
        steps = torch.arange(length, device=self.ago.device)
        ago = steps[:, None] - steps
        context = self.ago.shape[1]
        return self.ago[:, ago.clamp(0, context - 1)].masked_fill((ago < 0) | (ago >= context), float("-inf"))


AutoConfig.register(AgentConfig.model_type, AgentConfig, exist_ok=True)
AutoModelForCausalLM.register(AgentConfig, AgentPolicy, exist_ok=True)  # actions, each given those before it
