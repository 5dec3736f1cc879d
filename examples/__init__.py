"""Examples of use; ``make demo`` runs :mod:`examples.demo`."""
