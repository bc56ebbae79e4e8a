"""The network between keyman and its providers, broken on purpose: see `__main__.py`."""
