"""Safe reading and writing of files: size limits, atomic replacement, checks of output files."""
