"""What a cell that can't be read is to those who asked: a journal that failed, no fault of theirs.

Put round the making of values from cells and round nothing else: what goes wrong with a statement,
or with what it is given, is another thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keyman.errors import StoreFailed


@contextmanager
def decoding() -> Iterator[None]:
    """Raises StoreFailed for a cell that can't be read as what it is meant to be."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Not chained, and without the error's words: they may quote the cell.
        raise StoreFailed(
            f"the journal holds something that keyman never wrote ({type(error).__name__})",
            hint="somebody changed it: put it back from a backup (`keyman restore`)",
        ) from None
