"""Stores for tests that can fail, hang, and lose their answers: a room full of bad days.

They keep what a store keeps, and note what those who read them directly were ever given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.stores.limits import fitting

Address = tuple[str, int]


@dataclass
class Odd:
    """In memory, with whatever befalls a far one."""

    durable: bool = True
    secrets: dict[Address, Secret] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    down: bool = False
    forgets_to_answer: bool = False  #: what is asked is done, and nobody hears of it
    hangs: threading.Event | None = None  #: until it is set
    hung: threading.Event = field(default_factory=threading.Event)
    before: Callable[[str], None] = lambda _: None  #: told of each call as it comes

    def ready(self, name: str) -> None:
        self._asked("ready")

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        self._asked("put")
        fitting(name, secret)
        self.secrets[name, number] = secret
        self._answered()

    def get(self, name: str, number: int) -> Secret | None:
        self._asked("get")
        return self.secrets.get((name, number))

    def drop(self, name: str, number: int) -> None:
        self._asked("drop")
        self.secrets.pop((name, number), None)
        self._answered()

    def list(self, name: str | None = None) -> list[Address]:
        self._asked("list")
        return sorted(address for address in self.secrets if name in (None, address[0]))

    def close(self) -> None:
        self.calls.append("close")

    def numbers(self, name: str) -> Sequence[int]:
        """What is in it, without asking."""
        return sorted(number for each, number in self.secrets if each == name)

    def _asked(self, what: str) -> None:
        self.calls.append(what)
        self.before(what)
        if self.hangs is not None:
            self.hung.set()
            assert self.hangs.wait(60), "nobody ended it"
        if self.down:
            raise StoreFailed(f"the store is sealed ({what})", hint="unseal it")

    def _answered(self) -> None:
        if self.forgets_to_answer:
            raise StoreFailed("no answer", hint="wait")


@dataclass
class OddVault(Odd):
    """One that also knows a current secret of its own, for strangers."""

    current: dict[str, tuple[int, Secret]] = field(default_factory=dict)
    given: list[tuple[str, int | None]] = field(default_factory=list)

    def point(self, name: str, number: int | None) -> None:
        self._asked("point")
        if number is None:
            self.current.pop(name, None)
        else:
            self.current[name] = number, self.secrets[name, number]
        self.given.append((name, number))
        self._answered()

    def pointed(self, name: str) -> int | None:
        self._asked("pointed")
        return self.current[name][0] if name in self.current else None

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        self._asked("read_current")
        return self.current.get(name)

    def read(self, name: str) -> Secret | None:
        """What a stranger gets."""
        return self.current[name][1] if name in self.current else None
