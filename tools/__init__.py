"""Tools for maintainers, such as the options' reference and the release."""
