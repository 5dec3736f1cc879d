"""From the data to a model package: ``python -m training.all``."""
