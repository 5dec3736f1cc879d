"""The genuine Triton Inference Server, started from its PyPI wheel."""
