"""The models that img2poem runs when none are named; they are in ``repository/``, and there is nothing to import."""
