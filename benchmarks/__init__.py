"""Benchmarks for the figures in the docs; run each with ``python -m benchmarks.<name>``."""
