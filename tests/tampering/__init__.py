"""Files of keyman's that somebody else changed: see `__main__.py`."""
