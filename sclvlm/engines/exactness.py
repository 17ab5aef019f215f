"""Which models can go on from a key/value cache that holds padding, and reply as if they began anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sclvlm.layouts import places_otherwise
from sclvlm.models import accepts, has_cross_attention, rope_index, unwrapped
from sclvlm.rendering import TYPE_KEYS


def why_not_continued(model: Any) -> str | None:
    """Why a key/value cache of `model` can't be continued with padding inside, exactly; None where it can.

    Wrappers of peft make no difference.
    """
    text = unwrapped(model).config.get_text_config()
    return next((reason for applies, reason in REASONS if applies(model, text)), None)


def _has_state(model: Any, text: Any) -> bool:
    kinds = set(getattr(text, "layer_types", None) or ())
    return getattr(unwrapped(model), "_is_stateful", False) or bool(kinds - {"full_attention", "sliding_attention"})


def _has_window(model: Any, text: Any) -> bool:
    if kinds := getattr(text, "layer_types", None):
        return "sliding_attention" in kinds
    return bool(getattr(text, "sliding_window", None)) and getattr(text, "use_sliding_window", True)


def _sees_forward(model: Any, text: Any) -> bool:
    # Without pictures, kinds of tokens tell a text's halves apart; with mrope only where pictures stand.
    seeing = getattr(unwrapped(model).config, "vision_config", None) is not None and rope_index(model) is None
    by_kind = seeing and any(accepts(model, name) for name in TYPE_KEYS)
    return by_kind or bool(getattr(text, "use_bidirectional_attention", None))


def _takes_no_positions(model: Any, text: Any) -> bool:
    return not accepts(model, "position_ids")


REASONS: tuple[tuple[Callable[[Any, Any], bool], str], ...] = (
    (_has_state, "some of its layers carry a state along the row, or attend in chunks of it"),
    (_has_window, "some of its layers attend to a sliding window, out of which padding pushes words"),
    (_sees_forward, "its tokens may see others that stand behind them"),
    (_takes_no_positions, "it takes no position_ids"),
    (
        lambda model, text: has_cross_attention(model),
        "its text attends to an encoder, each token to its own part of it",
    ),
    (lambda model, text: places_otherwise(model), "it places pictures by more than their grids"),
)
