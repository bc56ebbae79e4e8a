"""Processes that die at their n-th call to a vault, before it has its effect or right after.

At a vault it is the gate that kills, and the process knows nothing of what awaits it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.children import PROCESSES
from tests.vaults.gate import LOST, Gate

ENDS_WITHIN = 60.0  # seconds
LOOKS = ("Capabilities", "Describe", "Get", "List", "Lookup", "Read")  # how vaults name them
METHODS = frozenset({"ready", "put", "get", "drop", "list", "put_all", "drop_all"})
CHANGING = frozenset({"put", "drop", "put_all", "drop_all"})
STORES = "/keyman/stores/"


class Executioner:
    """Counts calls from `wait_for` on, over any number of processes, and kills at one of them."""

    def __init__(self) -> None:
        self.met = ""  # the call at which somebody was killed

    def wait_for(self, nth: int | None, *, after: bool = False, changes: bool = False) -> None:
        """Kill whoever makes the n-th call from now on; None: nobody.

        `changes`: only those that change something count.
        """
        raise NotImplementedError

    def run(self, environ: Mapping[str, str], *words: str) -> int:
        """`keyman WORDS`; its exit status, -9 if it was killed."""
        process = PROCESSES.Process(target=_command, args=(dict(environ), words, *self._orders()))
        process.start()
        self._is_born(process.pid)
        process.join(ENDS_WITHIN)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError(f"keyman {' '.join(words)} does not end")
        self._is_gone()
        return process.exitcode

    def _orders(self) -> tuple[Any, ...]:
        """What the process is told beside its command."""
        return ()

    def _is_born(self, process: int | None) -> None:
        """Before it has called anybody."""

    def _is_gone(self) -> None:
        """Whoever calls from now on is somebody else."""


class Gatekeeper(Executioner):
    """Stands before the gates of all vaults that are called."""

    def __init__(self, gates: Iterable[Gate]) -> None:
        super().__init__()
        self._turn = threading.Lock()
        self._left: int | None = None
        self._after = self._changes = self._dead = False
        self._caller: int | None = None  # the thread that serves the last call
        self._victim: int | None = None
        for gate in gates:
            gate.fate = self._fate
            gate.carried_out = _both(gate.carried_out, self._carried_out)

    def wait_for(self, nth: int | None, *, after: bool = False, changes: bool = False) -> None:
        self._left, self._after, self._changes, self.met = nth, after, changes, ""

    def _is_born(self, process: int | None) -> None:
        with self._turn:
            self._victim = process

    def _is_gone(self) -> None:
        with self._turn:
            self._victim, self._dead = None, False

    def _fate(self, operation: str) -> str:
        with self._turn:
            if self._dead:  # what its other threads had under way
                return LOST
            if not self._left or (self._changes and operation.startswith(LOOKS)):
                return ""
            self._left -= 1
            self._caller = threading.get_ident()
            if self._left or self._after:
                return ""
            self._kill(f"before {operation}")
            return LOST

    def _carried_out(self, operation: str) -> None:
        with self._turn:
            its_turn = self._after and self._left == 0 and not self._dead
            if its_turn and self._caller == threading.get_ident():
                self._kill(f"after {operation}")

    def _kill(self, met: str) -> None:
        assert self._victim is not None
        os.kill(self._victim, signal.SIGKILL)
        self.met, self._dead, self._left = met, True, None


class Inside(Executioner):
    """Where nothing stands between: the process kills itself at a call of the store's methods."""

    def __init__(self) -> None:
        super().__init__()
        self._left = PROCESSES.Value("i", 0)
        self._after, self._methods = False, METHODS

    def wait_for(self, nth: int | None, *, after: bool = False, changes: bool = False) -> None:
        self._left.value, self._after, self.met = nth or 0, after, ""
        self._methods = CHANGING if changes else METHODS

    def _orders(self) -> tuple[Any, ...]:
        return self._left, "return" if self._after else "call", self._methods

    def run(self, environ: Mapping[str, str], *words: str) -> int:
        status = super().run(environ, *words)
        if status == -signal.SIGKILL:
            self.met = f"{'after' if self._after else 'before'} a call in keyman {words[0]}"
            self._left.value = 0
        return status


def _both(one: Callable[[str], None], other: Callable[[str], None]) -> Callable[[str], None]:
    def each(operation: str) -> None:
        one(operation)
        other(operation)

    return each


def _command(
    environ: dict[str, str],
    words: tuple[str, ...],
    left: Any = None,
    event: str = "",
    methods: frozenset[str] = frozenset(),
) -> None:
    from keyman.__main__ import main

    os.environ.clear()
    os.environ.update(environ)
    log = os.open(environ["KEYMAN_TEST_LOG"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if left is not None:
        watch = _watch(left, event, methods)
        threading.setprofile(watch)
        sys.setprofile(watch)
    sys.exit(main(list(words)))


def _watch(left: Any, wanted: str, methods: frozenset[str]) -> Callable[[Any, str, Any], None]:
    def watch(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event != wanted or code.co_name not in methods or STORES not in code.co_filename:
            return
        if left.value:
            left.value -= 1
            if not left.value:
                os.kill(os.getpid(), signal.SIGKILL)

    return watch
