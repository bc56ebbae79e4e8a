"""How long tokens live, and the reply that hands one out.

All lives are shortened by one factor if the sandbox's hour is shorter than an hour. A reply says
what Google's say: `expires_in` for OAuth endpoints, `expireTime` for iamcredentials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from keyman.sandbox.google_accounts import Person
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_tokens import HOUR, Token, Tokens
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, json_reply


class Issuing:
    """Hands out tokens; the caller holds the sandbox's lock."""

    def __init__(
        self,
        tokens: Tokens,
        now: Callable[[], datetime],
        new_text: Callable[[], str],
        behaviour: Callable[[], GoogleBehaviour],
        token_seconds: float,
    ) -> None:
        self.tokens = tokens
        self.new_text = new_text
        self.token_seconds = token_seconds
        self._now = now
        self._behaviour = behaviour
        self._recent: deque[float] = deque()

    def scaled(self, seconds: float) -> float:
        """A duration of Google's world in the sandbox's."""
        return seconds * self.token_seconds / HOUR

    def mint(
        self, call: Call, kind: str, principal: str, scopes: tuple[str, ...], seconds: float = HOUR
    ) -> tuple[str, Token]:
        """A token, noted in the log."""
        self._throttle()
        value, token = self.tokens.mint(kind, principal, scopes, self.scaled(seconds))
        call.secret = token.sha256
        return value, token

    def answer(
        self, call: Call, kind: str, principal: str, scopes: tuple[str, ...], **more: str
    ) -> Reply:
        """A reply with a new token."""
        return self.reply(*self.mint(call, kind, principal, scopes), more)

    def answer_person(
        self, call: Call, person: Person, scopes: tuple[str, ...], more: Json
    ) -> Reply:
        """A reply with a person's token, which may be the one of a moment ago."""
        young = self.scaled(self._behaviour().user_token_repeats_for)
        if person.refreshed is not None:
            value, asked, at = person.refreshed
            token = self.tokens.find(value)
            fresh = (self._now() - at).total_seconds() < young and asked == " ".join(scopes)
            if fresh and token is not None and self.tokens.alive(token):
                call.secret = token.sha256
                return self.reply(value, token, more)
        value, token = self.mint(call, "person", person.email, scopes)
        person.refreshed = (value, " ".join(scopes), self._now())
        return self.reply(value, token, more)

    def reply(self, value: str, token: Token, more: Json) -> Reply:
        """The OAuth way: seconds that are left, one less than the truth if Google is cautious."""
        rules = self._behaviour()
        left = int(token.expires - self._now().timestamp()) - rules.expires_in_short_by
        told: Json = {
            "access_token": value,
            "expires_in": str(max(left, 0)) if rules.expires_in_as_text else max(left, 0),
            "token_type": "Bearer",
            **more,
        }
        return json_reply(200, told)

    def revoke(self, principal: str) -> int:
        """Kill the living tokens of somebody; returns how many."""
        mine = [t for t in self.tokens.all() if t.principal == principal and self.tokens.alive(t)]
        for token in mine:
            token.revoked = True
        return len(mine)

    def _throttle(self) -> None:
        allowed = self._behaviour().token_requests_per_second
        if allowed is None:
            return
        now = self._now().timestamp()
        while self._recent and now - self._recent[0] >= 1:
            self._recent.popleft()
        if len(self._recent) >= allowed:
            raise RefusedError(429, "TooManyRequests", "Rate limit exceeded.", {"retry-after": "1"})
        self._recent.append(now)


def whole_seconds(timestamp: float) -> str:
    """RFC 3339 without fractions, which google-auth couldn't read."""
    return datetime.fromtimestamp(int(timestamp), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
