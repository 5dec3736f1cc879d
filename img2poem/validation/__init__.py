"""Validation of values from callers and from JSON."""
