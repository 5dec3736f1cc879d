"""Readers of the training data, in the formats that it comes in."""
