"""Changes of an API key that hold only for the key as it was seen.

Oracle does not say what moves an etag. Where each use of a secret does, a key in service would
never be as it was: so after a 412 the key is looked at, and what only was used is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keyman import errors
from keyman.vendors.oci_keys import Picture
from keyman.vendors.oci_outcomes import Collided

T = TypeVar("T")
MOVED_BY_USE = 5  # times that an etag may have moved between a look and a change


def unless_changed(
    change: Callable[[str | None], T],
    etag: str | None,
    before: Picture | None,
    look: Callable[[], Picture],
    *,
    unused: str | None = None,
) -> T:
    """Make a change with that etag, of a key that looked like `before` then.

    `unused` names a slot that counts as changed once it is used. Raises Collided (412) where more
    than uses came between, or too many of them.
    """
    for _ in range(MOVED_BY_USE):
        try:
            return change(etag)
        except Collided as refusal:
            if refusal.status != 412 or before is None or before.key.etag != etag:
                raise
            try:
                after = look()
            except errors.ProviderFailed:
                raise refusal from None  # this one tells what became of the change
            fresh = newer(etag, before, after, unused)
            if fresh == etag:
                raise
            before, etag = after, fresh
    return change(etag)


def newer(
    etag: str | None, before: Picture | None, after: Picture, unused: str | None
) -> str | None:
    """The etag to go on with: the later picture's, if nothing but uses came between the two."""
    if before is None or before.key.etag != etag:
        return etag
    same = after.apart_from_use(unused) == before.apart_from_use(unused)
    return (after.key.etag if same else None) or etag
