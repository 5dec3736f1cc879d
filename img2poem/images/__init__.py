"""Photographs: decoding to pixels, colour conversion, metadata, and cards."""
