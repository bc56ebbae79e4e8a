"""Doors for tests, under /sandbox/: what every sandbox lets another process do to it.

None of it imitates a vendor, and the listener is on the loopback address only. A sandbox adds doors
of its own to these:

    GET    /sandbox/truth       what only the service itself can know
    GET    /sandbox/log         calls in order of effect; ?operation= picks
    GET    /sandbox/counts      what was accepted and rejected, by SHA-256 of the secret
    GET    /sandbox/faults      the rules in force
    POST   /sandbox/faults      one rule or a list of them; the fields of `Fault`
    DELETE /sandbox/faults      no more faults
    POST   /sandbox/clock       {"shift_seconds": …} moves the sandbox's clock forward
    GET    /sandbox/behaviour   the answers in force
    POST   /sandbox/behaviour   {field: answer, …} changes some of them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from keyman.sandbox.faults import Fault, FaultPlan
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

Table = Mapping[tuple[str, str], Callable[[Request], object]]


class Watched(Protocol):
    """What a sandbox must have for the doors above."""

    faults: FaultPlan
    now: Callable[[], datetime]
    time_shift: timedelta

    @property
    def behaviour(self) -> Any: ...
    @behaviour.setter
    def behaviour(self, answers: Any) -> None: ...
    def truth(self) -> Json: ...
    def counts(self) -> Json: ...
    def calls(self, operation: str | None = None) -> Sequence[Any]: ...


class Doors:
    """Answers requests under /sandbox/ by method and name."""

    def __init__(self, sandbox: Watched, own: Table) -> None:
        self._sandbox = sandbox
        self._doors: Table = {
            ("GET", "truth"): lambda _: sandbox.truth(),
            ("GET", "log"): self._log,
            ("GET", "counts"): lambda _: sandbox.counts(),
            ("GET", "faults"): lambda _: sandbox.faults.to_json(),
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): lambda _: sandbox.faults.clear(),
            ("POST", "clock"): self._clock,
            ("GET", "behaviour"): lambda _: asdict(sandbox.behaviour),
            ("POST", "behaviour"): self._behave,
            **own,
        }

    def answer(self, request: Request) -> Reply:
        door = self._doors.get((request.method, request.path.removeprefix("/sandbox/")))
        if door is None:
            return json_reply(
                404, {"error": "no such door", "doors": sorted(map(str, self._doors))}
            )
        try:
            return json_reply(200, door(request))
        except (RefusedError, KeyError, TypeError, ValueError) as error:
            return json_reply(400, {"error": f"{type(error).__name__}: {error}"})

    def _log(self, request: Request) -> list[Json]:
        wanted = request.query.get("operation")
        return [asdict(call) for call in self._sandbox.calls(wanted)]

    def _add_faults(self, request: Request) -> Json:
        # A list is as good as a single rule, so several can be put in force in one go.
        given = request.json_value()
        rules = [Fault.from_json(each) for each in (given if isinstance(given, list) else [given])]
        return {"numbers": [self._sandbox.faults.add(rule) for rule in rules]}

    def _clock(self, request: Request) -> Json:
        self._sandbox.time_shift += timedelta(seconds=float(request.json()["shift_seconds"]))
        return {"now": self._sandbox.now().isoformat()}

    def _behave(self, request: Request) -> Json:
        given: Json = {n: tuple(v) if isinstance(v, list) else v for n, v in request.json().items()}
        self._sandbox.behaviour = replace(self._sandbox.behaviour, **given)
        return asdict(self._sandbox.behaviour)


def drift_door(person: object, actions: frozenset[str]) -> Callable[[Request], object]:
    """A door through which a person acts: {"action": name, …arguments of that method}."""

    def act(request: Request) -> object:
        body = request.json()
        action = body.pop("action")
        if action not in actions:
            raise ValueError(f"unknown action {action!r}; known: {', '.join(sorted(actions))}")
        return getattr(person, action)(**body) or {}

    return act
