"""A connection over TCP: every request of it is one that its sender meant for us, with a token.

The token is looked at once a connection, and again when it or anybody's rights have changed.
"""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar, NoReturn

from keyman.errors import NotAllowed, TooMany
from keyman.serving.doors import Caller, Client, misled
from keyman.serving.wire import FULL, INDIFFERENT, Refusal, Wire

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from keyman.serving.crowd import Visit
    from keyman.serving.wire import Gate

SLOWED = 1.0  # seconds that one more wrong token waits for its answer

log = logging.getLogger("keyman.serving")


class Remote(Wire):
    indifferent: ClassVar = (*INDIFFERENT, b"authorization")

    def __init__(
        self,
        gate: Gate,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        *,
        visit: Visit,
        hosts: Collection[bytes],
    ) -> None:
        super().__init__(gate, config, state, loop)
        self._visit = visit
        self._hosts = hosts
        self._caller: Client | None = None
        self._shown = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._visit.leave()
        super().connection_lost(exc)

    def _asking(self) -> Caller:
        wrong = misled(self.headers, self._hosts)
        if wrong is not None:
            self._stop(Refusal(wrong))
        shown = b",".join([value for name, value in self.headers if name == b"authorization"])
        rights = self._gate.doors.rights
        same = self._rights is rights and hmac.compare_digest(shown, self._shown)
        if self._caller is None or not same:
            self._rights, self._shown = rights, shown
            self._caller = self._gate.doors.client(shown)
        if self._caller is None:
            self._turn_away()
        if self not in self._gate.guests:
            self._visit.known()
            if not self._let_in():
                self._stop(FULL)
        self._gate.used.add(self._caller.digest)
        return self._caller

    def _turn_away(self) -> NoReturn:
        """The same words for a token that is missing, malformed, wrong or revoked."""
        peer = self._visit.peer
        wait = self._gate.guesses.wrong(peer, self.loop.time()) if self._shown else 0.0
        if wait:
            log.warning("%s goes on showing wrong tokens: its answers are held up", peer)
            error = TooMany("too many wrong tokens", hint="wait as long as Retry-After says")
            again = f"retry-after: {math.ceil(wait)}\r\n"
            self._stop(Refusal(error, headers=again, after=SLOWED))
        self._stop(_NO_TOKEN)

    def look_again(self) -> None:
        if self._caller is not None and not self._gate.doors.knows(self._caller):
            self.transport.abort()

    def _hang_up(self) -> None:
        if self.transport.can_write_eof():
            # Closing while something is left unread would reset the connection, and take what we
            # have just said along.
            self.transport.write_eof()
        else:
            self.transport.close()


_NO_TOKEN = Refusal(
    NotAllowed("this needs a client's token", hint="send Authorization: Bearer TOKEN"),
    401,
    "www-authenticate: Bearer\r\n",
)
