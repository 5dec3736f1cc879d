"""``python -m img2poem``."""

from .cli import app

app()
