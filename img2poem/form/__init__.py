"""The form of a poem (lines, rhymes, acrostic, required words) and the search for poems of that form."""
