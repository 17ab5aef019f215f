"""Kinds of command-line arguments that argparse does not know."""

from __future__ import annotations

import argparse


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def size(text: str) -> int:
    """A whole number from 1 on."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value
