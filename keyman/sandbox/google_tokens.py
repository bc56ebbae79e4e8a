"""Access tokens: what was handed out, to whom, for how long, and what a token is good for now.

A token's characters leave in the reply that announces them; only the SHA-256 stays. Tokens that
expired long ago are forgotten, so that ten thousand principals may refresh for days.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from keyman.sandbox.google_errors import BAD_TOKEN, NO_TOKEN
from keyman.sandbox.keys import sha256
from keyman.sandbox.server import RefusedError, Request

HOUR = 3600.0
_LETTERS = {"service": "c", "metadata": "c", "person": "a0", "federated": "d"}


@dataclass(slots=True)
class Token:
    """One access token. `kind` is `service`, `person`, `federated` or `metadata`; times are in
    seconds since the epoch.
    """

    sha256: str
    kind: str
    principal: str
    scopes: tuple[str, ...]
    issued: float
    expires: float
    revoked: bool = False


class Tokens:
    """Makes tokens and remembers them. The sandbox's lock guards it."""

    def __init__(
        self, now: Callable[[], datetime], new_text: Callable[[], str], limit: int = 100_000
    ) -> None:
        self._now = now
        self._new_text = new_text
        self._limit = limit
        self._known: OrderedDict[str, Token] = OrderedDict()

    def mint(
        self, kind: str, principal: str, scopes: tuple[str, ...], seconds: float
    ) -> tuple[str, Token]:
        """A new token and what is known about it."""
        value = f"ya29.{_LETTERS[kind]}.{self._new_text()}"
        now = self._now().timestamp()
        token = Token(sha256(value), kind, principal, scopes, now, now + seconds)
        self._known[token.sha256] = token
        self._forget(now)
        return value, token

    def find(self, value: str) -> Token | None:
        return self._known.get(sha256(value))

    def all(self) -> list[Token]:
        return list(self._known.values())

    def alive(self, token: Token) -> bool:
        return not token.revoked and self._now().timestamp() < token.expires

    def bearer(self, request: Request, revoked_reason: str = "ACCESS_TOKEN_EXPIRED") -> Token:
        """The living token that a request carries; refused as Google's services do if none."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise RefusedError(401, "CREDENTIALS_MISSING", NO_TOKEN)
        token = self.find(value.strip())
        if token is None:
            raise RefusedError(401, "ACCESS_TOKEN_TYPE_UNSUPPORTED", BAD_TOKEN)
        if not self.alive(token):
            reason = revoked_reason if token.revoked else "ACCESS_TOKEN_EXPIRED"
            raise RefusedError(401, reason, BAD_TOKEN)
        return token

    def _forget(self, now: float) -> None:
        # Oldest first; one that still lives stays, however many there are.
        while len(self._known) > self._limit:
            oldest = next(iter(self._known.values()))
            if oldest.expires > now:
                return
            self._known.popitem(last=False)
