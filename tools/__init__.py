"""What maintainers run: the reference of options, and the release."""
