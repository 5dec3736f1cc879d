"""The vocabulary, the tokenizer, and the text that people read."""
