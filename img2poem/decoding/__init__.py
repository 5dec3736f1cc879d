"""Decoding strategies, sampling noise, and searches in numpy over the served decoder steps."""
