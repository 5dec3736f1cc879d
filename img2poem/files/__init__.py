"""Reading and writing files: with a limit, as a whole or not at all, over nothing that would be lost."""
