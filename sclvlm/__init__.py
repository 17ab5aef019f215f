"""Self-correction learning for vision-language models: infer, label, train, evaluate, report."""

__version__ = "0.1.0"
