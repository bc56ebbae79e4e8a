"""Faults on demand, for any sandbox.

A `Fault` is a rule: which calls it meets (operation, n-th call, chance, how often) and what it does
to them. A `FaultPlan` holds the rules in force and decides by its seed, so the same calls in the
same order meet the same faults. This file breaks answers; it never changes what a service knows.

    effect           the operation is     the caller sees
    lost_before      not carried out      a dropped connection
    lost_after       carried out          a dropped connection
    truncated        carried out          half of the body, then a dropped connection
    garbage          carried out          200 with `body` instead of the answer
    delay            carried out          the right answer, late
    throttle         not carried out      429, with Retry-After if `retry_after` is given
    incorrect_state  not carried out      409 IncorrectState
    status           only if `done`       `status` with a JSON error, or with `body` if one is given
    html             only if `done`       `status` (502 unless given) with an HTML page
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Literal, get_args

from keyman.sandbox.server import HangUpError, Json, RefusedError, Reply, Request, json_reply

Effect = Literal[
    "lost_before",
    "lost_after",
    "truncated",
    "garbage",
    "delay",
    "throttle",
    "incorrect_state",
    "status",
    "html",
]
_ALWAYS_DONE = {"lost_after", "truncated", "garbage", "delay"}
_DONE_IF_ASKED = {"status", "html"}
_NOTHING = "{}"
_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body></body></html>"


@dataclass(frozen=True)
class Fault:
    """One rule. `nth` counts the matching calls since the rule was added, from 1."""

    effect: Effect
    operation: str = "*"
    containing: str = ""
    nth: int | None = None
    chance: float = 1.0
    count: int | None = None
    seconds: float = 0.0
    seconds_after: float = 0.0
    status: int | None = None
    retry_after: int | None = None
    body: str = _NOTHING
    done: bool = False

    def __post_init__(self) -> None:
        if self.effect not in get_args(Effect):
            known = ", ".join(get_args(Effect))
            raise ValueError(f"unknown effect {self.effect!r}; known: {known}")

    @classmethod
    def from_json(cls, body: object) -> Fault:
        if not isinstance(body, dict):
            raise TypeError("a fault is an object")
        unknown = set(body) - {f.name for f in fields(cls)}
        if unknown or "effect" not in body:
            raise ValueError(f"unknown: {sorted(unknown)}" if unknown else "effect is missing")
        return cls(**body)

    @property
    def carried_out(self) -> bool:
        """Whether the service does what was asked although the answer is spoilt."""
        return self.effect in _ALWAYS_DONE or (self.done and self.effect in _DONE_IF_ASKED)

    def meets(self, operation: str, request: Request) -> bool:
        if not fnmatchcase(operation, self.operation):
            return False
        return self.containing in request.target or self.containing.encode() in request.body


@dataclass
class _Rule:
    number: int
    fault: Fault
    met: int = 0
    fired: int = 0

    def fires(self, dice: random.Random) -> bool:
        """Count one more matching call and say whether this is one to spoil."""
        self.met += 1
        if self.fault.nth is not None and self.met != self.fault.nth:
            return False
        if self.fault.count is not None and self.fired >= self.fault.count:
            return False
        if dice.random() >= self.fault.chance:
            return False
        self.fired += 1
        return True


class FaultPlan:
    """The rules in force; the first that fires decides."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._dice = random.Random(seed)
        self._rules: list[_Rule] = []
        self._added = 0

    def add(self, fault: Fault) -> int:
        with self._lock:
            self._added += 1
            self._rules.append(_Rule(self._added, fault))
            return self._added

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def draw(self, operation: str, request: Request) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if rule.fault.meets(operation, request) and rule.fires(self._dice):
                    return rule.fault
            return None

    def to_json(self) -> list[Json]:
        """The rules with how often each met a call and fired."""
        with self._lock:
            return [
                {"number": r.number, "met": r.met, "fired": r.fired, **asdict(r.fault)}
                for r in self._rules
            ]


def _plainly(error: RefusedError) -> Reply:
    return json_reply(error.status, {"code": error.code, "message": error.message}, error.headers)


def suffer(
    fault: Fault,
    act: Callable[[], Reply],
    render: Callable[[RefusedError], Reply] = _plainly,
) -> Reply:
    """Answer a call that met a fault. Waiting happens here, outside of any service's lock.

    `render` words the errors as the vendor does.
    """
    time.sleep(fault.seconds)
    reply = act() if fault.carried_out else Reply(500)
    time.sleep(fault.seconds_after)
    if fault.effect in {"lost_before", "lost_after"}:
        raise HangUpError
    return _spoilt(fault, reply, render)


def _spoilt(fault: Fault, reply: Reply, render: Callable[[RefusedError], Reply]) -> Reply:
    def error(status: int, code: str, headers: dict[str, str]) -> Reply:
        said = "The sandbox was told to say so."
        return render(RefusedError(status, code, said, headers))

    wait = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    given = Reply(200, fault.body.encode(), {"content-type": "application/json"})
    answers = {
        "delay": reply,
        "truncated": Reply(reply.status, reply.body, reply.headers, cut=len(reply.body) // 2),
        "garbage": given,
        "throttle": error(429, "TooManyRequests", wait),
        "incorrect_state": error(409, "IncorrectState", {}),
        "status": error(fault.status or 500, "InternalServerError", wait),
        "html": Reply(fault.status or 502, _PAGE, {"content-type": "text/html"}),
    }
    if fault.effect == "status" and fault.body != _NOTHING:
        return replace(given, status=fault.status or 500, headers={**given.headers, **wait})
    return answers[fault.effect]
