"""One screen of credentials: as much of each as there is room for, the most urgent first.

Pure: from the JSON of `status`, a time and a size to lines that fit into it. With little to show
each credential has its slots and its trouble under it, with more only its trouble; with too many
for the screen the last line says how many of each health are not shown.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.text import Text

from keyman.cli.screen_bars import BLOCKS, Glyphs, bar, legend, life_of
from keyman.cli.screen_rows import (
    UNWELL,
    Chosen,
    by_urgency,
    hint_words,
    left_words,
    next_words,
    slot_words,
    tally,
    wrong_words,
)
from keyman.cli.terminal import COLOURS, counted, span
from keyman.telemetry import escaped
from keyman.views import Json

GAP = "  "
WIDE = 110  # columns from which there is room for more than what matters most
LONGEST_NAME, LONGEST_WIDE_NAME = 24, 40
HEALTH, LEFT, BAR, WIDE_BAR = 8, 8, 16, 28
SLOT, STATE = 10, 9
NARROW = f"{GAP}(narrow it: 'gen*' --unwell --health --provider)"


@dataclass(frozen=True, slots=True)
class Picture:
    """What was found at one look. `rows` are those that were asked for, of `total`."""

    rows: Sequence[Json]
    total: int
    daemon: Json
    chosen: Chosen = field(default_factory=Chosen)
    notes: Sequence[str] = ()  #: warnings, shown at the bottom
    at: datetime | None = None  #: when it was taken, if that is not now: nobody answers


@dataclass(frozen=True, slots=True)
class Room:
    """How much of it there is. Without `height` everything is shown, without `glyphs` no bar."""

    width: int
    height: int | None = None
    glyphs: Glyphs | None = BLOCKS
    keys: str = ""  #: what a person may press, told at the bottom

    @property
    def wide(self) -> bool:
        return self.width >= WIDE


def overview(picture: Picture, now: datetime, room: Room) -> list[Text]:
    """The screen, line by line; none is wider than the room, and they are no more than fit."""
    rows = by_urgency(picture.rows)
    head = [_headline(picture, now), _heads(rows, room)] if rows else [_headline(picture, now)]
    foot = [line for text in picture.notes for line in note_lines(text, room.width)]
    free = None if room.height is None else max(1, room.height - len(head) - len(foot) - 1)
    lines = [*head, *_body(rows, now, room, free), *foot]
    if rows and room.glyphs and (room.height is None or len(lines) < room.height):
        keys = f"{GAP}{room.keys}" if room.keys else ""
        lines.append(Text(legend(room.glyphs) + keys, style="dim"))
    return [cut(line, room.width) for line in lines][: room.height]


def cut(line: Text, width: int) -> Text:
    """No wider than that, the last character an ellipsis if something was left out."""
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def _headline(picture: Picture, now: datetime) -> Text:
    rows, total = picture.rows, picture.total
    many = counted(len(rows), "credential") if len(rows) == total else f"{len(rows)} of {total}"
    line = Text(many, style="bold")
    line.append(f" ({picture.chosen.said})" if picture.chosen else "", style="dim")
    line.append(f": {tally(rows)}" if rows else "", style="not bold")
    since = picture.daemon.get("since")
    running = picture.daemon.get("running")
    up = f", up {span(now - datetime.fromisoformat(since))}" if running and since else ""
    style = "not bold dim" if running else "not bold yellow"
    line.append(f"{GAP}daemon runs{up}" if running else f"{GAP}no daemon runs", style=style)
    if picture.at:
        line.append(f"{GAP}as of {picture.at:%H:%M:%SZ}", style="not bold yellow")
    return line


def note_lines(text: str, width: int) -> list[Text]:
    """Folded: what went wrong is worth more than one line."""
    return [Text(line, style="yellow") for line in textwrap.wrap(escaped(text), max(20, width))]


# The table.


def _body(rows: list[Json], now: datetime, room: Room, free: int | None) -> list[Text]:
    """The fullest way of showing them that fits; else as many as fit, and what is left out."""
    names = _name_width(rows, room)
    for how in (_with_slots, _with_trouble, _alone):
        blocks = [how(one, now, room, names) for one in rows]
        if free is None or sum(map(len, blocks)) <= free:
            return [line for block in blocks for line in block]
    assert free is not None
    shown, hidden = rows[: free - 1], rows[free - 1 :]
    lines = [line for one in shown for line in _alone(one, now, room, names)]
    return [*lines, _left_out(hidden)]


def _left_out(hidden: list[Json]) -> Text:
    said = f"{len(hidden)} more: {tally(hidden)}"
    worst = next((one["health"] for one in hidden if one["health"] in UNWELL), "")
    return Text(said, style=COLOURS.get(worst, "bold")).append(NARROW, style="not bold dim")


def _name_width(rows: list[Json], room: Room) -> int:
    longest = max([len("NAME"), *(len(one["name"]) for one in rows)])
    return min(longest, LONGEST_WIDE_NAME if room.wide else LONGEST_NAME)


def _with_slots(one: Json, now: datetime, room: Room, names: int) -> list[Text]:
    slots = [_slot_line(slot, now) for slot in one["slots"]]
    return [_line(one, now, room, names, next_words(one, now)), *slots, *_trouble(one)]


def _with_trouble(one: Json, now: datetime, room: Room, names: int) -> list[Text]:
    if one["health"] not in UNWELL:
        return _alone(one, now, room, names)
    return [_line(one, now, room, names, next_words(one, now)), *_trouble(one)]


def _alone(one: Json, now: datetime, room: Room, names: int) -> list[Text]:
    return [_line(one, now, room, names, next_words(one, now), wrong_words(one))]


def _heads(rows: list[Json], room: Room) -> Text:
    names = _name_width(rows, room)
    cells = [f"{'NAME':<{names}}", f"{'HEALTH':<{HEALTH}}"]
    cells += [f"{'LIFE':<{_bar_width(room)}}", f"{'LEFT':<{LEFT}}"]
    cells += [f"{'VERSION':<8}", f"{'PROVIDER':<10}"] if room.wide else []
    return Text(GAP.join([*cells, "NEXT"]), style="bold")


def _bar_width(room: Room) -> int:
    return WIDE_BAR if room.wide else BAR


def _line(one: Json, now: datetime, room: Room, names: int, coming: str, wrong: str = "") -> Text:
    """One credential in one line; what comes next, or what is wrong, takes the rest of it."""
    current, health = one["current"], one["health"]
    line = Text()
    line.append_text(_cell(one["name"], names, "bold")).append(GAP)
    line.append_text(_cell(health, HEALTH, COLOURS.get(health, ""))).append(GAP)
    line.append_text(bar(life_of(current), now, _bar_width(room), room.glyphs)).append(GAP)
    line.append_text(_cell(left_words(one, now), LEFT)).append(GAP)
    if room.wide:
        line.append_text(_cell(f"v{current['version']}" if current else "-", 8)).append(GAP)
        line.append_text(_cell(one["provider"], 10, "dim")).append(GAP)
    return line.append(wrong or coming, style=COLOURS["failing"] if wrong else "")


def _cell(text: str, width: int, style: str = "") -> Text:
    cell = Text(escaped(text), style=style)
    cell.truncate(width, overflow="ellipsis", pad=True)
    return cell


def _slot_line(slot: Json, now: datetime) -> Text:
    name, state, facts = slot_words(slot, now)
    line = Text(GAP).append_text(_cell(name, SLOT)).append(GAP)
    return line.append_text(_cell(state, STATE)).append(GAP).append(facts, style="dim")


def _trouble(one: Json) -> list[Text]:
    """What is wrong, in full, and the next move; nothing if nothing is."""
    wrong, hint = wrong_words(one), hint_words(one)
    if not wrong:
        return []
    said = [Text(f"{GAP}{wrong}", style=COLOURS["failing"])]
    return [*said, Text(f"{GAP}hint: {hint}")] if hint else said
