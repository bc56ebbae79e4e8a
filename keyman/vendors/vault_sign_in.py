"""Who calls Vault: a token that is given, or one that a sign-in brings, kept until it ends.

Nothing is asked before the first call needs it. A token with a lease is renewed after two thirds of
it, or another one is fetched; while that fails, the old one serves until its end. What is read from
files is read anew at each sign-in. A refusal leads to another sign-in only if it is the token that
was refused: each one costs a token, and maybe a secret id that serves once. It sees the vendor's
client only as what makes calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from keyman.clock import Clock
from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.vendors.vault_outcomes import ENDED, Answer, Asked, Place, asking, meaning

USUAL_MOUNT = {"approle": "approle", "kubernetes": "kubernetes"}
LONGEST_TOKEN = 8192
_LOOK = Asked("look at keyman's token")


@dataclass(frozen=True, slots=True)
class Auth:
    """`auth:` of a store: which kind, and what that kind needs."""

    kind: str
    mount: str | None = None
    token: Secret | None = None
    token_file: str | PathLike[str] | None = None
    role_id: str | None = None
    secret_id: Secret | None = None
    role: str | None = None
    jwt: str | PathLike[str] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and what is known of its lease, by a clock that never goes back."""

    token: str = field(repr=False)
    lease: float = 0.0  #: seconds; 0: it has no end that we know of
    due: float = float("inf")  #: when to renew it
    ends: float = float("inf")
    renewable: bool = False
    blind: bool = False  #: may not look at itself: refused, it may have ended or lack a permission

    @classmethod
    def begun(cls, token: str, seconds: Any, now: float, *, renewable: Any) -> Grant:
        lease = float(seconds) if isinstance(seconds, int) and seconds > 0 else 0.0
        if not lease:
            return cls(token)
        return cls(token, lease, now + lease * 2 / 3, now + lease, renewable is True)


class SignIn:
    """Keeps `client` supplied with a token; `door` is the same client without one."""

    def __init__(self, auth: Auth, place: Place, client: Any, door: Any, clock: Clock) -> None:
        self._auth, self._place = auth, place
        self._client, self._door = client, door
        self._clock = clock
        self._lock = threading.Lock()
        self._grant: Grant | None = None

    def enter(self) -> str:
        """See to a token that is good for a call, and return it. Raises StoreFailed."""
        with self._lock:
            if self._grant is None:
                return self._use(self._log_in())
            if self._clock.boot() >= self._grant.due:
                return self._prolong(self._grant)
            return self._grant.token

    def again(self, refused: str, answer: Answer) -> bool:
        """Whether there is another token than the refused one; fetched if that one has ended.
        Raises StoreFailed if it surely has, and none is to be had.
        """
        with self._lock:
            grant = self._grant
            assert grant is not None, "a token was refused"
            if grant.token == refused and self._auth.token is None:
                self._replace(grant, answer)
            return self._grant is not None and self._grant.token != refused

    def _replace(self, grant: Grant, answer: Answer) -> None:
        ended = self._ended(grant, answer)
        if ended is False:
            return
        try:
            fresh = self._log_in()
        except StoreFailed:
            if ended:
                raise
            # Maybe it lives: the refused call then says more. One try for each lease is enough.
            self._use(replace(grant, blind=True))
            return
        self._use(fresh)
        if ended is None and self._ended(fresh, answer) is None:
            self._use(replace(fresh, blind=True))

    def _ended(self, grant: Grant, answer: Answer) -> bool | None:
        """Was the token refused, rather than what was asked with it? None: nobody can tell."""
        if answer.phrase == ENDED:
            return True
        if self._auth.kind == "token":  # in a file: looking there once more costs nothing
            return None
        if grant.blind:
            return False
        try:
            look = self._looked()
        except StoreFailed:  # it is the refused call that is to be told of
            return False
        if look.status != 403:
            return False
        return True if look.phrase == ENDED else None

    def _use(self, grant: Grant) -> str:
        self._grant = grant
        self._client.token = grant.token
        return grant.token

    def _prolong(self, grant: Grant) -> str:
        try:
            return self._use(self._renewed(grant) or self._log_in())
        except StoreFailed:
            now = self._clock.boot()
            if now >= grant.ends:
                raise
            return self._use(replace(grant, due=(now + grant.ends) / 2))

    def _renewed(self, grant: Grant) -> Grant | None:
        """None if it can't be renewed, or hardly: then it is near the longest life it can have."""
        if not grant.renewable:
            return None
        asked, now = Asked("renew keyman's token"), self._clock.boot()
        answer = asking(asked, self._place, self._client.auth.token.renew_self)
        seconds = answer.member("auth", "lease_duration")
        if answer.status != 200 or not isinstance(seconds, int) or seconds * 2 < grant.lease:
            return None
        return Grant.begun(grant.token, seconds, now, renewable=True)

    def _log_in(self) -> Grant:
        if self._auth.kind == "token":
            return self._given()
        asked = Asked(f"sign in by {self._auth.kind}")
        now = self._clock.boot()
        answer = asking(asked, self._place, self._login())
        token = answer.member("auth", "client_token")
        if answer.status != 200 or not isinstance(token, str):
            raise self._not_let_in(asked, answer)
        seconds, renewable = (answer.member("auth", n) for n in ("lease_duration", "renewable"))
        return Grant.begun(_sendable(token, "the sign-in"), seconds, now, renewable=renewable)

    def _login(self) -> Callable[[], Answer]:
        auth, methods = self._auth, self._door.auth
        mount = auth.mount or USUAL_MOUNT[auth.kind]
        more: dict[str, Any] = {"use_token": False, "mount_point": mount}
        if auth.kind == "approle":
            secret_id = auth.secret_id.reveal() if auth.secret_id else None
            return lambda: methods.approle.login(auth.role_id, secret_id, **more)
        jwt = _read(auth.jwt)
        return lambda: methods.kubernetes.login(auth.role, jwt, **more)

    def _not_let_in(self, asked: Asked, answer: Answer) -> StoreFailed:
        failure = meaning(asked, self._place, answer)
        if answer.status not in (400, 403, 404) or answer.phrase == "vault is sealed":
            return failure
        mount = self._auth.mount or USUAL_MOUNT[self._auth.kind]
        hint = {
            "approle": "correct `role_id` and `secret_id` (it may have ended, or been used up)",
            "kubernetes": "correct `role`; bind keyman's service account and its namespace to it",
        }[self._auth.kind]
        return StoreFailed(failure.message, hint=f"{hint}; the method must be at `auth/{mount}`")

    def _looked(self) -> Answer:
        return asking(_LOOK, self._place, self._client.auth.token.lookup_self)

    def _given(self) -> Grant:
        """The token that was given; its lease, if it may ask for that."""
        auth, now = self._auth, self._clock.boot()
        raw = auth.token.reveal() if auth.token else _read(auth.token_file)
        token = _sendable(raw, str(auth.token_file or "auth.token"))
        self._client.token = token
        answer = self._looked()
        if answer.status not in (200, 403):  # whether it is good, the call it is for will tell
            raise meaning(_LOOK, self._place, answer)
        told = {name: answer.member("data", name) for name in ("ttl", "renewable")}
        return Grant.begun(token, told["ttl"], now, renewable=told["renewable"])


def _read(path: str | PathLike[str] | None) -> str:
    assert path is not None, "the configuration requires it"
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise StoreFailed(
            f"could not sign in to vault: {path} cannot be read ({type(error).__name__})",
            hint="it must be there and readable for the user who runs keyman",
        ) from None


def _sendable(token: str, where: str) -> str:
    """It goes into a header: anything else than plain characters would break or forge one."""
    if token and len(token) <= LONGEST_TOKEN and token.isascii() and token.isprintable():
        return token
    raise StoreFailed(
        f"could not sign in to vault: what {where} gave is no token",
        hint="a token is one line of plain characters, such as hvs.…",
    )
