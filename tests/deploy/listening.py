"""A service manager's ear: the datagram socket that a daemon tells how it is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.commands.world import GENEROUS


@dataclass
class Heard:
    """One message, and the process that the kernel says it is from."""

    lines: list[str]
    pid: int

    def __contains__(self, line: str) -> bool:
        return line in self.lines

    def value(self, name: str) -> str:
        [found] = [line.partition("=")[2] for line in self.lines if line.startswith(f"{name}=")]
        return found


class Ear:
    def __init__(self, address: str) -> None:
        self.address = address
        self.all: list[Heard] = []  #: in the order in which they came
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)

    def next(self, within: float = GENEROUS) -> Heard:
        """The next message. Raises BlockingIOError or TimeoutError if none comes."""
        self._socket.settimeout(within)
        data, (told,), *_ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
        self.all.append(Heard(data.decode().split("\n"), struct.unpack("3i", told[2])[0]))
        return self.all[-1]

    def until(self, line: str) -> Heard:
        """The next message with this line; others before it are passed over."""
        while line not in (heard := self.next()):
            pass
        return heard

    def waiting(self) -> list[Heard]:
        """Whatever came and was not taken yet."""
        return list(self._waiting())

    def _waiting(self) -> Iterator[Heard]:
        try:
            while True:
                yield self.next(0)
        except BlockingIOError:
            return

    def close(self) -> None:
        self._socket.close()


@contextmanager
def ear(folder: Path, *, abstract: bool = False) -> Iterator[Ear]:
    name = folder / "notify"
    made = Ear(f"@{name}" if abstract else str(name))
    try:
        yield made
    finally:
        made.close()
