"""The web page and the REST gateway: ``img2poem web``. Needs the extra ``web``."""
