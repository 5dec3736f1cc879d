"""Vocabulary, tokenizer, orthography, and the rendering of tokens as readable text."""
