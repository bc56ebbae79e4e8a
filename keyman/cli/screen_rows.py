"""Which credentials a person wants to see, in what order, and what is said of each in a few words.

Pure: works on the JSON of `status`, with the time handed in. Text in it may come from a provider:
it is escaped here, once, before it is laid out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from keyman.cli.terminal import counted, span
from keyman.telemetry import escaped
from keyman.views import Json

URGENCY = ("down", "at-risk", "failing", "due", "rotating", "ok")
UNWELL = URGENCY[:3]
OVER = "over"
LAST = "9999"  # sorts behind every time that there is


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person asked to see; empty means everything."""

    pattern: str | None = None
    healths: tuple[str, ...] = ()
    unwell: bool = False
    provider: str | None = None

    def __bool__(self) -> bool:
        return self != Chosen()

    def takes(self, one: Json) -> bool:
        """Is it one of those? All that is asked for must hold."""
        if self.pattern is not None and not fnmatchcase(one["name"], self.pattern):
            return False
        if self.provider is not None and one["provider"] != self.provider:
            return False
        if self.unwell and not unwell(one):
            return False
        return not self.healths or one["health"] in self.healths

    @property
    def said(self) -> str:
        """The same as it was typed."""
        words = [f"'{self.pattern}'"] if self.pattern else []
        words += ["--unwell"] if self.unwell else []
        words += [f"--health {','.join(self.healths)}"] if self.healths else []
        return " ".join(words + ([f"--provider {self.provider}"] if self.provider else []))


def is_pattern(name: str) -> bool:
    """`gen*`; no credential's name has one of these characters."""
    return any(mark in name for mark in "*?[")


def unwell(one: Json) -> bool:
    """Does it need somebody: by itself, or a store that should follow it?"""
    return one["health"] in UNWELL or any(_fails(mirror) for mirror in one["mirrors"] or ())


def by_urgency(rows: Iterable[Json]) -> list[Json]:
    """The worst first, then by what comes next, then by name."""
    return sorted(rows, key=lambda one: (_rank(one["health"]), _next_at(one), one["name"]))


def _rank(health: str) -> int:
    return URGENCY.index(health) if health in URGENCY else 0  # a word that a later agent may know


def _next_at(one: Json) -> str:
    return one["next"]["at"] if one["next"] else LAST


def tally(rows: Iterable[Json]) -> str:
    """`1 down, 3 ok`: how many there are of each, the worst first."""
    found = Counter(one["health"] for one in rows)
    return ", ".join(f"{found[health]} {health}" for health in sorted(found, key=_rank))


# In a few words.


def next_words(one: Json, now: datetime) -> str:
    """`request in 13d 4h`; empty where nothing is to come."""
    coming = one["next"]
    if coming is None and one["provider"] == "static" and one["current"]:
        return "a person replaces it"
    return f"{escaped(coming['step'])} {when(coming['at'], now)}" if coming else ""


def wrong_words(one: Json) -> str:
    """What is wrong with it; empty if nothing is."""
    if one["last_error"]:
        tries = f"failed {counted(one['failures'], 'time')}: " if one["failures"] else ""
        return tries + escaped(one["last_error"])
    if one["current"] is None and not one["adopted"]:
        return _nothing_yet(one)
    if one["current"] is None:
        why = f": {one['coming'][0]['reason']}" if one["coming"] else ""
        return escaped(f"no usable secret{why}")
    if one["drift"]:
        return escaped(f"changed at the provider: {one['drift'][0]['what']}")
    failing = next((mirror for mirror in one["mirrors"] or () if _fails(mirror)), None)
    return escaped(f"mirror {failing['store']}: {failing['error'] or 'failing'}") if failing else ""


def _nothing_yet(one: Json) -> str:
    if one["provider"] == "static":
        return "nobody has given its secret yet"
    return "not adopted" if one["key_id"] else "no secret yet"


def hint_words(one: Json) -> str:
    """What to do about it; empty if there is nothing to do."""
    if one["hint"]:
        return escaped(one["hint"])
    if one["current"] is not None or one["adopted"]:
        return ""
    if one["provider"] == "static":
        return f"give the secret: keyman put {one['name']}"
    adopt = f"give the secret in use: keyman adopt {one['name']} --slot SLOT"
    return adopt if one["key_id"] else ""


def _fails(mirror: Json) -> bool:
    return bool(mirror["state"] == "failing")


def left_words(one: Json, now: datetime) -> str:
    """What is left of the current secret's life."""
    ends = one["current"] and one["current"]["expires_at"]
    return away(ends, now) if ends else "-"


def away(at: str, now: datetime) -> str:
    """`29d 3h`, or `over` once it has passed."""
    left = datetime.fromisoformat(at) - now
    return span(left) if left > timedelta(0) else OVER


def when(at: str, now: datetime) -> str:
    """Of what is still to come, `now` once its time is there."""
    left = datetime.fromisoformat(at) - now
    return f"in {span(left)}" if left > timedelta(0) else "now"


def ago(at: str | None, now: datetime) -> str:
    if at is None:
        return "-"
    since = now - datetime.fromisoformat(at)
    return f"{span(since)} ago" if since > timedelta(0) else "just now"


def stage_words(held: Json) -> str:
    """`current`, or that it is refused: what is in use is not in use then."""
    return "refused" if dead_since(held) else str(held["stage"])


def dead_since(held: Json) -> str | None:
    """Since when its secret is known to be refused; an agent of before does not say."""
    in_use = held["stage"] in ("current", "previous")
    return held.get("dead_at") if in_use else None


def slot_words(slot: Json, now: datetime) -> Sequence[str]:
    """A slot in one line: its name, its state at the provider, and what is in it."""
    state = escaped(slot["state"] or "-")
    if slot["version"] is None:
        return escaped(slot["name"]), state, "nothing of keyman's"
    facts = [f"v{slot['version']} {stage_words(slot)}"]
    facts += [f"issued {ago(slot['issued_at'], now)}"] if slot["issued_at"] else []
    facts += [f"used {ago(slot['last_used_at'], now)}"] if slot["last_used_at"] else []
    return escaped(slot["name"]), state, ", ".join(facts)
