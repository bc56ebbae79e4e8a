"""Many credentials in one daemon, and one daemon for long: what it takes, and that it stays so."""
