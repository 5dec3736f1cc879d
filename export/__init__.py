"""Export of a model package to a Triton model repository: ``python -m export.all``."""
