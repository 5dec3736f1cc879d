"""The commands of ``img2poem``, one module per topic."""
