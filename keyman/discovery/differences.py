"""What others changed at the provider: a record beside what was seen just now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from keyman.core import transitions
from keyman.core.model import Credential, Observed
from keyman.core.news import Record, drift, ends_moved
from keyman.core.situation import Situation
from keyman.views import Json, time_text


def differences(c: Credential, o: Observed, now: datetime) -> Iterator[Json]:
    """Where the provider shows something else than the record from before this look."""
    after = Record(transitions.observed_now(c, o), o)
    s = Situation(after.credential, o, now)
    found = {**ends_moved(Record(c, o), after), **drift(after, now)}
    said: list[tuple[str | None, int | None, str]] = []
    for changed, what in found.items():
        v = c.version(changed)
        said.append((v.slot if v else None, changed, what))
    if s.other_owner:
        said.append((None, None, f"{s.other_owner} drives the key"))
    for slot, number, what in said:
        current = c.current is not None and c.current.number == number
        yield {
            "credential": c.name,
            "slot": slot,
            "version": number,
            "stage": _stage(c, number),
            "what": what,
            "seen_at": time_text(o.at),
            "hint": _against(s, c, current=current),
        }


def _stage(c: Credential, number: int | None) -> str | None:
    v = c.version(number) if number is not None else None
    return str(v.stage) if v else None


def _against(s: Situation, c: Credential, *, current: bool) -> str:
    if s.other_owner:
        return "let one keyman drive a key: forget it in the other one, or stop that copy"
    if current:
        return (
            f"a running daemon probes it and replaces what is dead; at once: keyman rotate {c.name}"
        )
    nothing = "nothing to do: no lookup depends on it"
    return f"{nothing}, and its slot is filled again in its turn" if s.spec.slots else nothing
