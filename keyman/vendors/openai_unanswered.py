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
    certain: bool  #: it was sent; else it may have been


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
        self._calls[attempt] = _Call(now + self._late, now + self._late, certain=True)

    def meet(self, attempt: str, age: float) -> bool:
        """A wish that was `age` seconds old when this began (0 or less: younger). True if nobody
        can have asked for it yet.

        An older one may have been asked for by a process that died meanwhile. Most likely once,
        right after it was written down, so that is what is waited for: processes that live shortly
        must get on too.
        """
        unmet, self._met = self._met != attempt, attempt
        if unmet and age > 0:
            until = self._began + self._late
            self._calls[attempt] = _Call(until - age, until, certain=False)
        return unmet and age <= 0

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

    def certain(self, now: float) -> bool:
        """Was any of those that are waited for really sent, as far as is known here?"""
        return any(call.certain and call.waited_until > now for call in self._calls.values())


class Settled:
    """Wishes of which nothing can come any more: no call was sent, or each was refused.

    One for a whole process: who is opened anew while it runs (a configuration was taken up) need
    not wait for what nobody asked for. Knows one wish of each credential, the last one.
    """

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str], str] = {}

    def has(self, whose: tuple[str, str], attempt: str) -> bool:
        return self._attempts.get(whose) == attempt

    def add(self, whose: tuple[str, str], attempt: str) -> None:
        self._attempts[whose] = attempt

    def drop(self, whose: tuple[str, str]) -> None:
        self._attempts.pop(whose, None)
