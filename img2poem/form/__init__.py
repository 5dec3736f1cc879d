"""The form of a poem - lines, rhymes, acrostics, words - and the search that keeps to it."""
