"""Lookups that were asked before in the very same bytes: answered without parsing them again.

A client on a kept connection sends the same request each time. Once the parser has taken some
bytes for one whole plain lookup, the same bytes are that lookup, wherever a request may begin.
What else is asked, and by whom, is looked at as always.
"""

from __future__ import annotations

from typing import NamedTuple

from keyman.serving.doors import Caller
from keyman.serving.local import Local
from keyman.serving.wire import LOOKUP, PLAIN_WANTED

REMEMBERED = 4096  # requests; about as many names as are asked for at a time
LONGEST = 512  # bytes of a request that is remembered


class Lookup(NamedTuple):
    name: str
    plain: bool


_known: dict[bytes, Lookup] = {}


class Again(Local):
    _begun = 0  # requests within the bytes that are being parsed
    _lookup: Lookup | None = None  # one of these
    _repeated = False  # since somebody last looked after us

    def data_received(self, data: bytes) -> None:
        known = _known.get(data)
        if known is not None and self._answered_again(known):
            return
        between = self._between()
        self._begun, self._lookup = 0, None
        super().data_received(data)
        if between:
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Remember what that was, if it was one plain lookup and nothing besides."""
        alone = self._begun == 1 and self._reading is None and len(data) <= LONGEST
        if alone and self._lookup is not None:
            if len(_known) >= REMEMBERED:
                _known.clear()
            _known[data] = self._lookup

    def _between(self) -> bool:
        """Whether a request may begin now, and would be this connection's only one."""
        return (
            self._reading is None
            and not self._head
            and not self.pipeline
            and (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]
        )

    def _answered_again(self, known: Lookup) -> bool:
        """False: it must be looked at like any other request."""
        caller, gate = self._caller, self._gate
        if caller is None or self._rights is not gate.doors.rights:
            return False
        if not (caller.owner or caller.sees(known.name)):
            return False
        if self._refused is not None or self.flow.write_paused or not self._between():
            return False
        ready = gate.snapshot.ready(known.name)
        if ready is None:
            return False
        self.transport.write(ready.plain.wire if known.plain else ready.json.wire)
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self.took.get(known.name) != ready.version:
            self.takes(known.name, ready.version)
        gate.lookups["plain"] += 1
        self._repeated = True
        return True

    def look_after(self, now: float) -> None:
        if self._repeated:
            self._quiet, self._repeated = now, False
        super().look_after(now)

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def _finished_answer(self, caller: Caller) -> bytes | None:
        found = super()._finished_answer(caller)
        if found is not None:
            name = self.url[len(LOOKUP) :].decode("latin-1")
            accepts = dict(self.headers).get(b"accept")
            self._lookup = Lookup(name, plain=accepts in PLAIN_WANTED)
        return found
