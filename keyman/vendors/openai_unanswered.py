"""Calls that were to make a key and got no answer: how long to wait for them, and to watch out.

Such a call may have been carried out, or may be so later. Waiting: no other key is asked for, so
that there are never two that nobody knows. Watching out: whatever turns up under its attempt is
deleted. Times are seconds on the clock that counts from boot; it asks nobody and no clock itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class _Call:
    waited_until: float
    watched_until: float


class Unanswered:
    """Those of one credential, by the attempt of the wish that they were made for."""

    def __init__(self, late: float, now: float) -> None:
        """`late`: how many seconds after it was sent a call may still be carried out."""
        self._late, self._began = late, now
        self._calls: dict[str, _Call] = {}
        self._met: str | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, attempt: str, now: float) -> None:
        """A call was sent, and its answer never came."""
        self._calls[attempt] = _Call(now + self._late, now + self._late)

    def meet(self, attempt: str, age: float) -> None:
        """A wish that was `age` seconds old when this process began (less than 0: younger).

        An older one may have been asked for by a process that died meanwhile. Most likely once,
        right after it was written down, so that is what is waited for: processes that live shortly
        must get on too.
        """
        unmet, self._met = self._met != attempt, attempt
        if unmet and age > 0:
            until = self._began + self._late
            self._calls[attempt] = _Call(until - age, until)

    def settle(self, attempt: str, now: float, *, came: bool) -> None:
        """The list was read, and `came` says whether a key of that attempt was there to delete."""
        call = self._calls.get(attempt)
        if call and now >= call.watched_until:
            del self._calls[attempt]
        elif call and came:
            self._calls[attempt] = replace(call, waited_until=now)

    def left(self, now: float) -> float:
        """How many seconds to wait before another key may be asked for; 0 or less: none."""
        return max((call.waited_until for call in self._calls.values()), default=now) - now
