"""How the daemon is, told to the service manager that started it and asked to hear: sd_notify(3).

One datagram a message. Where nobody asked, nothing is said. Everybody may read what is told
(`systemctl status`), so it is made of our own words and of counts, never of a text from outside. A
service manager that does not listen keeps nobody from working: that is a line in the log.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

SOCKET, WATCHDOG, WATCHED_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
LISTENS_WITHIN = 1.0  # seconds that a message may wait for room in its queue

log = logging.getLogger("keyman.daemon")


class ServiceManager:
    """`watchdog`: the seconds within which it wants to hear `alive`, each time; None: never."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog if address else None

    def status(self, text: str) -> None:
        self._say(_status(text))

    def ready(self, text: str) -> None:
        """After the start, and after each `reloading`; `text` is the status from now on."""
        self._say("READY=1", _status(text))

    def reloading(self, running: float) -> None:
        """`running` (seconds of CLOCK_MONOTONIC) tells this reload's end from an earlier one's."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={int(running * 1_000_000)}")

    def stopping(self) -> None:
        self._say("STOPPING=1", _status("stopping"))

    def alive(self) -> None:
        self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(LISTENS_WITHIN)
                sender.sendto("\n".join(lines).encode(), _place(self._address))
        except OSError as error:
            log.warning("the service manager does not hear %s: %s", lines[0], error)


def taken_from(environ: MutableMapping[str, str], pid: int) -> ServiceManager:
    """Whoever the environment names, if it is this process that it wants to hear of.

    Takes the variables away: a child that found them would speak in our name.
    """
    address = environ.pop(SOCKET, "")
    period, meant = environ.pop(WATCHDOG, ""), environ.pop(WATCHED_PID, "")
    if address and not address.startswith(("/", "@")):
        log.warning("%s is not a socket that keyman can speak to, and is ignored", SOCKET)
        return ServiceManager()
    ours = period.isdecimal() and int(period) > 0 and meant in ("", str(pid))
    return ServiceManager(address, int(period) / 1_000_000 if ours else None)


def _place(address: str) -> bytes:
    """An `@` stands for the NUL byte of a name that is in no folder."""
    written = os.fsencode(address)
    return b"\0" + written[1:] if written.startswith(b"@") else written


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
