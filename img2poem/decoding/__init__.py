"""Decoding strategies, their noise, and the searches over the served steps."""
