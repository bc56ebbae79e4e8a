"""A connection over the unix socket: the kernel knows who is asking."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

from keyman.errors import NotAllowed
from keyman.serving.doors import Caller, User
from keyman.serving.wire import FULL, Refusal, Wire

if TYPE_CHECKING:
    import socket


def peer_uid(connection: socket.socket) -> int:
    """The uid that the other side had when it connected, from the kernel."""
    if sys.platform == "linux":
        import socket

        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("iII", raw)[1])
    else:  # noqa: RET505 mypy reads the branches as two platforms
        # macOS: struct xucred begins with its version and the uid.
        sol_local, local_peercred = 0, 1
        raw = connection.getsockopt(sol_local, local_peercred, 128)
        return int(struct.unpack_from("II", raw)[1])


class Local(Wire):
    """A stranger learns nothing but that they are one."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._uid = peer_uid(transport.get_extra_info("socket"))
        self._caller: User | None = self._gate.doors.user(self._uid)
        if self._caller is not None:
            if not self._let_in():
                self._refuse(FULL)
            return
        self._gate.strangers.add(self)
        if len(self._gate.strangers) > self._limits.strangers:
            transport.abort()

    def _asking(self) -> Caller:
        rights = self._gate.doors.rights
        if self._rights is not rights:
            self._rights, self._caller = rights, self._gate.doors.user(self._uid)
        if self._caller is None:
            self._stop(_STRANGER)
        return self._caller

    def _is_kept(self) -> bool:
        """Who took a secret is known to hold it for as long as they are connected. Over a socket
        of this machine nobody vanishes unseen, so they may be as long as there is room.
        """
        return bool(self.took) and 2 * len(self._gate.guests) < self._limits.connections

    def look_again(self) -> None:
        if self._caller is None or self._caller.owner or not self._busy:
            return
        if self._rights.narrowed is not self._gate.doors.rights.narrowed:
            self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        super()._refuse(_STRANGER if self._caller is None else refusal)


_STRANGER = Refusal(NotAllowed("this user may not ask keyman"))
