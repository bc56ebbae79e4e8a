"""The journal: what we wished, did and know, in one database. It never holds a secret."""
