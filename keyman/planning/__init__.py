"""What will happen to the credentials of a configuration, as far ahead as somebody asks.

Looks at the home like any other command that only looks, then computes: no provider is asked, no
clock is waited for, nothing is changed. What happens is decided by the core, in core/outlook.py;
here it is gathered, and told in JSON. `rows` make it a table, `timeline` and `picture` draw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyman.clock import SystemClock
from keyman.config import Settings
from keyman.config.places import look_at
from keyman.core.model import Credential, Observed
from keyman.core.outlook import Outlook, Repeats, Trouble, look_ahead
from keyman.core.plan import Planned
from keyman.db.sqlite import path_of
from keyman.reading import Reader
from keyman.views import Json, time_text
from keyman.wiring import configured


@dataclass(frozen=True, slots=True)
class Plan:
    """Several credentials over the same time, each by itself."""

    now: datetime
    until: datetime
    outlooks: tuple[Outlook, ...]

    @property
    def troubles(self) -> list[tuple[str, Trouble]]:
        """Every trouble with the name of its credential, soonest first."""
        found = [(one.name, trouble) for one in self.outlooks for trouble in one.troubles]
        return sorted(found, key=lambda named: (named[1].at, named[0]))

    def as_json(self) -> Json:
        """The whole of `plan --json`."""
        steps = [step for one in self.outlooks for step in _steps(one)]
        return {
            "now": time_text(self.now),
            "until": time_text(self.until),
            "steps": sorted(steps, key=lambda step: (step["at"], step["credential"])),
            "troubles": [_trouble(name, trouble) for name, trouble in self.troubles],
        }


def plan(settings: Settings, names: Iterable[str], ahead: timedelta) -> Plan:
    """Raises NotFound for a name that is not configured, NotAllowed if this user may not look."""
    now = SystemClock().now().replace(microsecond=0)
    until = now + ahead
    records = list(_records(settings, list(names)))
    return Plan(now, until, tuple(look_ahead(c, o, now, until) for c, o in records))


def _records(settings: Settings, names: list[str]) -> Iterator[tuple[Credential, Observed | None]]:
    """As last saved; of a home where nothing ever ran, without facts."""
    if look_at(path_of(settings.database)) is None:
        for name in names:
            yield Credential(configured(settings, name).spec("")), None
        return
    with Reader(settings) as reader:
        for name in names:
            spec = configured(settings, name).spec(reader.journal.installation)
            yield reader.journal.load(spec)


def _steps(one: Outlook) -> Iterator[Json]:
    for step in one.steps:
        yield _step(one.name, step, None)
    if one.repeats:
        again = Planned(one.repeats.first, "request", None, None, one.repeats.reason)
        yield _step(one.name, again, one.repeats)


def _step(name: str, step: Planned, repeats: Repeats | None) -> Json:
    return {
        "at": time_text(step.at),
        "credential": name,
        "step": step.step,
        "slot": step.slot,
        "reason": step.reason,
        "version": step.version,
        "repeats": repeats and _repeats(repeats),
    }


def _repeats(repeats: Repeats) -> Json:
    return {
        "every_seconds": repeats.every.total_seconds(),
        "times": repeats.times,
        "until": time_text(repeats.last),
    }


def _trouble(name: str, trouble: Trouble) -> Json:
    return {
        "at": time_text(trouble.at),
        "until": time_text(trouble.until),
        "credential": name,
        "what": trouble.what,
        "hint": trouble.hint,
    }
