"""Measurements that the figures in the docs come from; each is run by ``python -m benchmarks.<name>``."""
