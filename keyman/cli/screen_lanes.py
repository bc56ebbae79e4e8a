"""One credential in full: its life, a lane for each slot or living version, and what happens next.

Pure: from the JSON of `status NAME` and a time to lines. Long text is folded to the width, and what
does not fit into the height is counted.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from keyman.cli.screen_bars import bar, legend, life_of
from keyman.cli.screen_layout import Picture, Room, cut, note_lines
from keyman.cli.screen_rows import (
    OVER,
    ago,
    away,
    dead_since,
    hint_words,
    stage_words,
    when,
    wrong_words,
)
from keyman.cli.terminal import COLOURS, counted
from keyman.telemetry import escaped
from keyman.views import Json

LABEL = 13
NAME, STATE, STAGE = 10, 9, 14
NARROW_BAR, WIDE_BAR = 24, 48
LIVES = {
    "current": "green",
    "previous": "yellow",
    "pending": "cyan",
    "requested": "cyan",
    "refused": "red",
}


@dataclass(frozen=True, slots=True)
class Lane:
    """A slot with what is in it, or a version where the provider has no slots."""

    name: str
    state: str
    stage: str
    version: int | None
    held: Json  #: with issued_at, expires_at
    used_at: str | None
    next: Json | None


def lanes(one: Json) -> list[Lane]:
    """Slots as they are named; else the versions that are alive, the newest first."""
    if one["slots"]:
        return [_of_slot(one, slot) for slot in one["slots"]]
    return [_of_version(one, version) for version in one["versions"]]


def _of_slot(one: Json, slot: Json) -> Lane:
    coming = [c for c in one["coming"] if c["slot"] == slot["name"] and _is_here(c, slot)]
    coming += _replacing(one) if slot["stage"] == "current" else []
    return Lane(
        name=escaped(slot["name"]),
        state=escaped(slot["state"] or "-"),
        stage=stage_words(slot) if slot["stage"] else "-",
        version=slot["version"],
        held=slot,
        used_at=slot["last_used_at"],
        next=next(iter(coming), None),
    )


def _is_here(step: Json, slot: Json) -> bool:
    """Another key, left behind by `--new-key`, has slots of the same names."""
    return step["version"] in (None, slot["version"])


def _of_version(one: Json, version: Json) -> Lane:
    number = version["version"]
    coming = [c for c in one["coming"] if c["version"] == number]
    coming += _replacing(one) if version["stage"] == "current" else []
    name = f"version {number}"
    stage = stage_words(version)
    return Lane(name, "", stage, number, version, None, next(iter(coming), None))


def _replacing(one: Json) -> list[Json]:
    """What is asked for next has no number yet: it takes the current one's place."""
    return [c | {"slot": None} for c in one["coming"] if c["step"] == "request"]


def due_of(one: Json, lane: Lane) -> str | None:
    """Where rotation begins, for the lane of the current version."""
    current = one["current"]
    return current["due_at"] if current and lane.version == current["version"] else None


# The page.


def details(picture: Picture, now: datetime, room: Room) -> list[Text]:
    """Everything that is known of the one credential in the picture."""
    (one,) = picture.rows
    lines = [_headline(one), Text()]
    for lane in lanes(one):
        lines += _lane(one, lane, now, room)
    if lanes(one):
        lines += [Text(legend(room.glyphs), style="dim"), Text()] if room.glyphs else [Text()]
    for label, said in facts(one, now):
        lines += _fact(label, said, room.width)
    for note in picture.notes:
        lines += note_lines(note, room.width)
    lines += [Text(room.keys, style="dim")] if room.keys else []
    return _fitted([cut(line, room.width) for line in lines], room.height)


def _fitted(lines: list[Text], height: int | None) -> list[Text]:
    if height is None or len(lines) <= height:
        return lines
    more = counted(len(lines) - height + 1, "more line")
    return [*lines[: height - 1], Text(more, style="dim")]


def _headline(one: Json) -> Text:
    line = Text(escaped(one["name"]), style="bold")
    line.append(f"  {escaped(one['provider'])}  ", style="not bold dim")
    line.append(one["health"], style=f"bold {COLOURS.get(one['health'], '')}")
    current = one["current"]
    where = f" in {escaped(current['slot'])}" if current and current["slot"] else ""
    said = f"  version {current['version']}{where}" if current else "  no usable secret"
    return line.append(said, style="not bold")


def _lane(one: Json, lane: Lane, now: datetime, room: Room) -> list[Text]:
    wide = WIDE_BAR if room.wide else NARROW_BAR
    what = f"v{lane.version} {lane.stage}" if lane.version else "-"
    line = Text(f"{lane.name:<{NAME}}  ", style="bold")
    line.append(f"{lane.state:<{STATE}}  " if lane.state else "", style="not bold")
    line.append(f"{what:<{STAGE}}  ", style=f"not bold {LIVES.get(lane.stage, 'dim')}")
    alive = lane.stage in LIVES and lane.stage != "refused"
    style = None if alive else "dim"
    life = life_of(lane.held, due=due_of(one, lane))
    drawn = bar(life, now, wide, room.glyphs, style=style)
    line.append_text(drawn).append("  " if room.glyphs else "")
    ends = lane.held["expires_at"]
    dead = dead_since(lane.held) is not None
    line.append(_left(ends, now) if ends and not dead else "", style="not bold")
    under = [Text(f"  {said}", style="dim") for said in (_age(lane, now), _next(lane, now)) if said]
    return [line, *under]


def _left(ends: str, now: datetime) -> str:
    said = away(ends, now)
    return said if said == OVER else f"{said} left"


def _age(lane: Lane, now: datetime) -> str:
    held = lane.held
    dead = dead_since(held)
    facts = [f"refused since {_date(dead)}"] if dead else []
    facts += [f"issued {ago(held['issued_at'], now)}"] if held.get("issued_at") else []
    facts += [f"ends {_date(held['expires_at'])}"] if held["expires_at"] else []
    facts += [f"last used {ago(lane.used_at, now)}"] if lane.used_at else []
    return ", ".join(facts)


def _next(lane: Lane, now: datetime) -> str:
    """What happens to it, when, and why."""
    coming = lane.next
    if coming is None:
        return ""
    return f"next: {next_words_of(coming, now)}"


def next_words_of(coming: Json, now: datetime) -> str:
    """`filled in 13d 4h: rotate_before 35d`, in words about the slot or version itself."""
    return f"{_done_to_it(coming)} {when(coming['at'], now)}: {escaped(coming['reason'])}"


def _done_to_it(coming: Json) -> str:
    to_it = {"request": "filled" if coming["slot"] else "replaced", "retire": "switched off"}
    return to_it.get(coming["step"], escaped(coming["step"]))


def facts(one: Json, now: datetime) -> list[tuple[str, str]]:
    """What lanes have no room for; nothing that is unknown. Escaped."""
    current, coming, order = one["current"], one["next"], one["order"]
    found = [("key", one["key_id"])] if one["key_id"] else []
    found += [("also valid", _elsewhere(other)) for other in one["other_keys"] or ()]
    if current:
        found.append(("fingerprint", current["fingerprint"] or "-"))
        if current["expires_at"]:
            ends = current["expires_at"]
            found.append(("expires", f"{when(ends, now)} ({_date(ends)})"))
    if coming:
        at = f"{when(coming['at'], now)} ({_date(coming['at'])})"
        found.append(("next", f"{coming['step']} {at}: {coming['reason']}"))
    if order:
        found.append(("order", f"{order['kind']} {order['state']} ({order['order']})"))
    found += [("mirror", _mirror(mirror)) for mirror in one["mirrors"] or ()]
    found += [("clients", said) for said in _clients(one)]
    found += [("changed", _drift(drift)) for drift in one["drift"]]
    found += _trouble(one)
    return [(label, escaped(said)) for label, said in found]


def _trouble(one: Json) -> list[tuple[str, str]]:
    wrong, hint = wrong_words(one), hint_words(one)
    if one["drift"] and not one["last_error"]:
        wrong = ""  # told already
    found = [("trouble", wrong)] if wrong else []
    if one["failures"] and one["last_error"]:
        found = [("failed", f"{counted(one['failures'], 'time')}: {one['last_error']}")]
    return [*found, ("hint", hint)] if hint else found


def _elsewhere(one: Json) -> str:
    """A version in a slot of a key that was replaced."""
    return f"version {one['version']} ({one['stage']}), {one['slot']} of {one['key_id']}"


def _mirror(one: Json) -> str:
    version = "nothing readable" if one["version"] is None else f"version {one['version']}"
    said = f"{one['store']} {one['state']}, {version}"
    if one["state"] == "ok":
        return said
    why = f": {one['error']}" if one["error"] else ""
    return f"{said}, since {one['since']}{why}"


def _clients(one: Json) -> list[str]:
    """Nothing where the agent was not asked, or nobody is connected."""
    clients = one["clients"]
    if not clients or not clients["connected"]:
        return []
    behind = f", {clients['behind']} with an older version" if clients["behind"] else ""
    return [f"{clients['connected']} connected{behind}"]


def _drift(one: Json) -> str:
    return f"version {one['version']}: {one['what']} (seen {one['seen_at']})"


def _fact(label: str, said: str, width: int) -> list[Text]:
    folded = textwrap.wrap(said, max(20, width - LABEL)) or [""]
    indent = " " * LABEL
    first = f"{label + ':':<{LABEL}}{folded[0]}"
    return [Text(first), *(Text(indent + more) for more in folded[1:])]


def _date(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%MZ}"
