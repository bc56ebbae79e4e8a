"""What the sandboxes of Google and OpenAI have in common.

A service whose clock a test can move, whose calls meet faults, are carried out one at a time under
one lock, and are written to a log in the order in which they took effect. It knows no vendor: a
subclass names the operation a request asks for, carries it out, and words the refusals.
"""

from __future__ import annotations

import base64
import random
import secrets
import threading
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from keyman.sandbox.doors import Doors
from keyman.sandbox.faults import Fault, FaultPlan, suffer
from keyman.sandbox.server import Json, RefusedError, Reply, Request, Service
from keyman.sandbox.witness import Tally


def system_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Call:
    """One call. `at` is in seconds since the epoch, on the sandbox's clock; a status of None says
    that it was lost before it had any effect. `secret` is the SHA-256 of what it made.
    """

    number: int
    operation: str
    at: float
    fault: str | None = None
    actor: str = ""
    target: str = ""
    secret: str | None = None
    status: int | None = None
    code: str | None = None


@dataclass
class Meter:
    """When each actor made which calls; small enough for 10,000 actors over many hours."""

    times: dict[tuple[str, str], array[float]] = field(default_factory=dict)

    def add(self, call: Call) -> None:
        self.times.setdefault((call.operation, call.actor), array("d")).append(call.at)

    def of(self, operations: set[str], actor: str | None = None) -> list[float]:
        """The times of matching calls, in order."""
        picked = [
            times
            for (operation, who), times in self.times.items()
            if operation in operations and actor in {None, who}
        ]
        return sorted(time for times in picked for time in times)


def peak(times: list[float], seconds: float = 1.0) -> int:
    """The most calls within any stretch of that many seconds; `times` are in order."""
    return max(
        (n + 1 - bisect_left(times, end - seconds, 0, n + 1) for n, end in enumerate(times)),
        default=0,
    )


class Sandboxed(Service):
    """Routes requests through the doors for tests, or through faults to `act`."""

    # Calls that are too many to be listed one by one; a tally counts them.
    unlogged: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, now: Callable[[], datetime], seed: int | None, log_limit: int = 100_000
    ) -> None:
        self.time_shift = timedelta(0)
        super().__init__(lambda: now() + self.time_shift)
        self.lock = threading.RLock()
        self.faults = FaultPlan(seed or 0)
        self.dice = random.Random(seed)
        self.tally = Tally()
        self.meter = Meter()
        self._seeded = seed is not None
        self._log: deque[Call] = deque(maxlen=log_limit)
        self._calls = 0
        self._doors: Doors | None = None

    def operation(self, request: Request) -> str:
        """What the request asks for, as faults and the log name it."""
        raise NotImplementedError

    def act(self, request: Request, call: Call) -> Reply:
        """Carry it out; the lock is held."""
        raise NotImplementedError

    def render(self, operation: str, error: RefusedError) -> Reply:
        """A refusal as the vendor words it."""
        raise NotImplementedError

    def open_doors(self, doors: Doors) -> None:
        self._doors = doors

    def calls(self, operation: str | None = None) -> list[Call]:
        """The calls so far, in order of effect; the oldest are forgotten beyond a limit."""
        with self.lock:
            return [c for c in self._log if operation in {None, c.operation}]

    def counts(self) -> Json:
        """Accepted and rejected inference calls, in all and by SHA-256 of the secret."""
        with self.lock:
            return self.tally.to_json()

    def answer(self, request: Request) -> Reply:
        if request.path.startswith("/sandbox/") and self._doors is not None:
            return self._doors.answer(request)
        operation = self.operation(request)
        fault = self.faults.draw(operation, request)
        if fault is None:
            return self._act(operation, request, None)
        if not fault.carried_out:
            with self.lock:
                self._meter(self.note(operation, fault))
        return suffer(
            fault,
            lambda: self._act(operation, request, fault),
            lambda error: self.render(operation, error),
        )

    def _act(self, operation: str, request: Request, fault: Fault | None) -> Reply:
        with self.lock:
            call = self.note(operation, fault)
            try:
                reply = self.act(request, call)
            except RefusedError as error:
                call.code = error.code
                reply = self.render(operation, error)
            call.status = reply.status
            self._meter(call)
        return reply

    def note(self, operation: str, fault: Fault | None = None) -> Call:
        """A new line of the log."""
        self._calls += 1
        at = self.now().timestamp()
        call = Call(self._calls, operation, at, fault.effect if fault else None)
        if operation not in self.unlogged:
            self._log.append(call)
        return call

    def _meter(self, call: Call) -> None:
        if call.operation not in self.unlogged:
            self.meter.add(call)

    def random_text(self, size: int) -> str:
        """That many random bytes as text; repeatable if there is a seed."""
        data = self.dice.randbytes(size) if self._seeded else secrets.token_bytes(size)
        return base64.urlsafe_b64encode(data).decode().rstrip("=")
