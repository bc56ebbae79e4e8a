"""The proof as a whole: its parts, one after another, and the table that they end in."""
