"""Training of a model package: ``python -m training.all``."""
