"""Sources turned into record files, one module a source; run from a checkout with `python -m`."""
