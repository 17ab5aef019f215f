"""Public benchmarks as samples, one module a benchmark; `python -m data_pipelines.benchmarks NAME SOURCE --out DIR`."""
