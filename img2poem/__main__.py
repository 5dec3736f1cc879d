"""``python -m img2poem``."""

from .cli.app import app

app()
