"""Checks of values that callers and JSON give."""
