"""Keeping house: stores tried, emptied into each other and given new keys; backups and restores."""
