"""Inputs that nobody meant, for every parser that reads what others wrote: see `__main__.py`."""
