"""Photographs: decoding to pixels, colours, metadata, and cards."""
