"""Run Triton Inference Server from its PyPI wheel."""
