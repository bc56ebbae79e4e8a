"""What no store takes in, decided in one place so that a secret fits every store or none.

Never shows the value it refuses.
"""

from __future__ import annotations

from keyman.core.model import Secret
from keyman.errors import StoreFailed

MAX_BYTES = 16 * 1024


def fitting(name: str, secret: Secret) -> str:
    """The characters, if they may be kept; else StoreFailed."""
    value = secret.reveal()
    if unfit := _unfit(value):
        raise StoreFailed(
            f"the secret for {name!r} was not kept: it {unfit}",
            hint="a secret is one line of text; look for a stray line end where it comes from",
        )
    return value


def _unfit(value: str) -> str | None:
    if any(character in value for character in "\n\r\0"):
        return "contains a line end or a NUL character"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "is not valid text"
    return f"has {size} bytes, more than {MAX_BYTES}" if size > MAX_BYTES else None
