"""A connection over the unix socket: the kernel knows who is asking."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from keyman.errors import NotAllowed
from keyman.serving.doors import Caller, User
from keyman.serving.wire import FULL, Refusal, Wire

if TYPE_CHECKING:
    import socket


class Peer(NamedTuple):
    """Who was on the other side when it connected, from the kernel."""

    uid: int
    pid: int  #: 0 if it can't be seen from here


def peer_of(connection: socket.socket) -> Peer:
    if sys.platform == "linux":
        import socket

        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("iII", raw)
        return Peer(uid, pid)
    else:  # noqa: RET505 mypy reads the branches as two platforms
        # macOS: struct xucred begins with its version and the uid; the pid is asked for by itself.
        sol_local, local_peercred, local_peerpid = 0, 1, 2
        raw = connection.getsockopt(sol_local, local_peercred, 128)
        pid = connection.getsockopt(sol_local, local_peerpid)
        return Peer(int(struct.unpack_from("II", raw)[1]), pid)


class Local(Wire):
    """A stranger learns nothing but that they are one."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.uid, self.process = peer_of(transport.get_extra_info("socket"))
        self._caller: User | None = self._gate.doors.user(self.uid)
        if self._caller is not None:
            if not self._may_come_in(self._caller):
                self._refuse(FULL)
            return
        self._gate.strangers.add(self)
        if len(self._gate.strangers) > self._limits.strangers:
            transport.abort()

    def _asking(self) -> Caller:
        rights = self._gate.doors.rights
        if self._rights is not rights:
            self._rights, self._caller = rights, self._gate.doors.user(self.uid)
        if self._caller is None:
            self._stop(_STRANGER)
        return self._caller

    def _may_come_in(self, caller: User) -> bool:
        """No user but the owner may take all the room there is."""
        guests = self._gate.guests
        theirs = sum(isinstance(guest, Local) and guest.uid == caller.uid for guest in guests)
        there_is_room = self._let_in(owner=caller.owner)
        return there_is_room and (caller.owner or theirs < self._limits.connections // 2)

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
