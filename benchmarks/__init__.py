"""Comparisons with other software, run from a checkout with `python -m`; what they found stands in README.md."""
