"""Questions about credentials of `static`: is the secret there, does it work, when does it end?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from keyman.checkup.finding import Finding
from keyman.checkup.record import Moves, inference
from keyman.config import CredentialSettings, StaticOptions
from keyman.core.model import Credential
from keyman.performer import Managed
from keyman.views import time_text

BRING = "have it replaced where it was made, then: keyman put {name}"
MOVES = Moves(
    refused=f"wrong base_url or verify.get? else {BRING}",
    forbidden="it is known there, but may not read verify.get: wrong path, or too few rights",
    anew=BRING,
)


def of_record(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """When it ends is as somebody said, with the secret or in the configuration."""
    assert isinstance(one.options, StaticOptions)
    ends = (c.current.expires_at if c.current else None) or one.options.expires_at
    if c.current is None:
        hint = f"keyman put {c.name} takes it from standard input"
        yield Finding("warning", "not_put", "nobody has brought its secret yet", hint, c.name)
    yield from _end(c, ends, now)
    yield from inference(managed, c, now, MOVES)


def _end(c: Credential, ends: datetime | None, now: datetime) -> Iterator[Finding]:
    hint = BRING.format(name=c.name)
    known = c.current is not None and c.current.expired(now)
    if ends is None or known:  # what expired by the record is told with the secret
        return
    if now >= ends:
        said = f"by the configuration it expired on {time_text(ends)}"
        yield Finding("error", "expired", said, hint, c.name)
    elif now >= ends - c.policy.rotate_before:
        said = f"the secret expires on {time_text(ends)}"
        yield Finding("warning", "expires_soon", said, hint, c.name)
