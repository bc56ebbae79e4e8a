"""Has messages delivered by a process of its own (child.py), and never waits for it for long.

Why a process: apprise brings a hundred and fifty services, 50 MB and almost a second of work, each
of them may hang where no timeout reaches, and they go by the environment where keyman does not.
This one lives for a few messages, gets an environment made for it, and is killed when it hangs.
The address goes through its standard input, so no list of processes shows it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from keyman import errors
from keyman.clock import SystemClock
from keyman.config import NetworkSettings, NotifyTarget
from keyman.core.model import Secret
from keyman.notify import child
from keyman.notify.harmless import harmless
from keyman.notify.wording import Message

WITHIN = 60.0  # seconds for one answer: some services make senders wait between two messages
PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"),
)
CLOCK = SystemClock()  # how long another process takes is a matter of real time alone
NEEDED = "telling people needs the package apprise, which is not installed"
HOW_TO_GET_IT = "pip install 'keyman[notify]'"
ENDED_EARLY = "the process that delivers ended early"


@dataclass(frozen=True, slots=True)
class Sent:
    done: bool
    said: str = ""  #: why not
    unsure: bool = False  #: it may have arrived all the same, or at some of its receivers


def installed() -> bool:
    return find_spec("apprise") is not None


class Silent(Exception):
    """The child said nothing that could be understood, or nothing in time.

    `asked`: it had got the question, so it may have done what it was asked for.
    """

    def __init__(self, why: str, *, asked: bool = True) -> None:
        super().__init__(why)
        self.asked = asked


class Courier:
    """One child process. Leave it by `close`, or as a context."""

    def __init__(self, network: NetworkSettings, within: float = WITHIN) -> None:
        self._within = within
        self._heard = b""
        self._process = subprocess.Popen(  # noqa: S603 this very Python, and a file of ours
            [sys.executable, "-P", str(Path(child.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(network, os.environ),
        )

    def open(self, url: Secret) -> str | None:
        """Take up that address. Returns why it is of no use, `missing` or `unreadable`.

        Raises Silent.
        """
        refused = self._ask({"open": url.reveal()}).get("refused")
        return str(refused) if refused else None

    def send(self, message: Message) -> Sent:
        """Have it delivered there. What came of it is not known for sure if nobody answers; then
        this courier is of no more use.
        """
        said = {"title": message.title, "body": message.body, "kind": message.kind}
        try:
            answer = self._ask(said)
        except Silent as silence:
            return Sent(done=False, said=str(silence), unsure=silence.asked)
        done, unsure = answer.get("sent") is True, answer.get("unsure") is True
        return Sent(done, harmless(str(answer.get("said", ""))), unsure)

    def _ask(self, question: Mapping[str, str]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # of a line that is not whole nothing comes
            raise Silent(ENDED_EARLY, asked=False) from None
        try:
            answer = json.loads(self._line())
        except (OSError, ValueError):
            raise Silent(ENDED_EARLY) from None
        if not isinstance(answer, dict):
            raise Silent("the process that delivers said something else")
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        deadline = CLOCK.monotonic() + self._within
        while b"\n" not in self._heard:
            left = deadline - CLOCK.monotonic()
            if not select.select([self._process.stdout], [], [], max(left, 0))[0]:
                self._process.kill()
                self._process.wait()  # so that whoever asks it again knows that nobody listens
                raise Silent(f"no answer within {self._within:g} s")
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise ValueError("no line")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what can't be flushed any more is closed all the same
                pipe.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def environment(network: NetworkSettings, ours: Mapping[str, str]) -> dict[str, str]:
    """What the child goes by: the configuration's proxy and authorities, none of the variables."""
    passed = {name: ours[name] for name in PASSED_ON if name in ours}
    if network.proxy:
        passed |= {"HTTP_PROXY": network.proxy, "HTTPS_PROXY": network.proxy}
        passed["NO_PROXY"] = "localhost,127.0.0.1,::1"
    if network.ca_bundle:
        bundle = str(network.ca_bundle)
        passed |= {"REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle}
    return passed


class Judging:
    """Asks apprise, beside whatever else is done meanwhile, whether it can read the addresses."""

    def __init__(self, targets: tuple[NotifyTarget, ...], network: NetworkSettings) -> None:
        """Raises ConfigError if apprise is missing, Error if no process can be started."""
        self._targets = targets
        self._courier: Courier | None = None
        if targets and not installed():
            raise errors.ConfigError(NEEDED, hint=HOW_TO_GET_IT)
        if targets:
            self._courier = _started(network)

    def problems(self) -> list[str]:
        """A sentence for each that can't be read; none of them quotes an address."""
        if self._courier is None:
            return []
        with self._courier as courier, suppress(Silent):
            # No verdict is none: it is met again when there is something to tell.
            bad = [one for one in self._targets if courier.open(one.url) is not None]
            return [f"notify: {one.name}: {_unreadable(one)}" for one in bad]
        return []

    def refuse(self) -> None:
        """Raises ConfigError if there is one that can't be read."""
        said = self.problems()
        if said:
            counted = "1 mistake" if len(said) == 1 else f"{len(said)} mistakes"
            lines = f" {said[0]}" if len(said) == 1 else "".join(f"\n  {line}" for line in said)
            hint = "`keyman notify test` tries each; docs/notify.md has examples"
            message = f"{counted} in the configuration:{lines}"
            raise errors.ConfigError(message, hint=hint, problems=said)


def _started(network: NetworkSettings) -> Courier:
    try:
        return Courier(network)
    except OSError as error:
        raise errors.Error(
            f"no process can be started that looks at the addresses of `notify`: {error.strerror}",
            hint="look at the limits of processes, files and memory; then try again",
        ) from None


def _unreadable(target: NotifyTarget) -> str:
    return f"apprise can't read this {target.service} address"
