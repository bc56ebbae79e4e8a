"""What `keyman demo` shows while it runs: a picture on a terminal, else a line a change.

Knows the JSON of `status` and the clients' counts; starts and stops nothing.
"""

from __future__ import annotations

import sys
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from keyman.cli import terminal
from keyman.clock import SystemClock

BAR = 24  # characters
STAGES = {"current": "bold green", "previous": "yellow", "pending": "cyan", "requested": "cyan"}


class Counted(Protocol):
    lookups: int
    requests: int
    rejected: int

    @property
    def rotations(self) -> int: ...


class Watch:
    """`show` may be called often; off a terminal it speaks only when something changed."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: dict[str, str] = {}
        self._lives: dict[tuple[str, int], float] = {}
        colour = terminal.colour_wanted(sys.stdout)
        console = Console(color_system="auto" if colour else None, highlight=False)
        wanted = not quiet and sys.stdout.isatty()
        self._live = Live(console=console, refresh_per_second=10) if wanted else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(
        self,
        statuses: list[dict[str, Any]],
        counts: dict[str, Counted] | Any,
        spent: float,
        seconds: float,
    ) -> None:
        if self._live:
            parts = [self._picture(one, counts.get(one["name"])) for one in statuses]
            clock = f"{spent:4.0f} of {seconds:.0f} s" if seconds else "starting …"
            self._live.update(Group(*parts, Text(clock, style="dim")))
        elif not self._quiet:
            self._tell(statuses)

    def _tell(self, statuses: list[dict[str, Any]]) -> None:
        for one in statuses:
            line = f"{one['name']}: {_in_words(one)}"
            if self._said.get(one["name"]) != line:
                self._said[one["name"]] = line
                terminal.say(line)

    def _picture(self, one: dict[str, Any], count: Counted | None) -> Group:
        shown = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("slot", "state", "stage", "version", "life left"):
            shown.add_column(head, no_wrap=True)
        for slot in one["slots"] or _only(one["current"]):
            stage = slot["stage"] or "-"
            shown.add_row(
                slot["name"],
                slot["state"] or "-",
                Text(stage, style=STAGES.get(stage, "dim")),
                str(slot["version"] or "-"),
                self._life(one["name"], slot),
            )
        return Group(self._headline(one, count), shown, Text())

    def _headline(self, one: dict[str, Any], count: Counted | None) -> Text:
        head = Text.assemble((one["name"], "bold"), f"  {one['provider']}  ")
        head.append(one["health"], style=terminal.COLOURS.get(one["health"], ""))
        if count:
            rotations = terminal.counted(count.rotations, "rotation")
            head.append(f"   {rotations}, {terminal.counted(count.requests, 'request')}, ")
            style = "bold red" if count.rejected else "bold green"
            head.append(f"{count.rejected} rejected", style=style)
        return head

    def _life(self, name: str, slot: dict[str, Any]) -> Text:
        """How much of its life the secret still has; the first sight of it is the whole."""
        if slot["expires_at"] is None or slot["version"] is None:
            return Text("-")
        left = _seconds_to(slot["expires_at"])
        whole = max(self._lives.setdefault((name, slot["version"]), left), left, 0.1)
        full = round(BAR * max(left, 0) / whole)
        style = "green" if left > whole / 2 else "yellow" if left > 0 else "red"
        bar = Text("█" * full, style=style)
        bar.append("·" * (BAR - full), style="dim")
        return bar.append(f" {max(left, 0):3.0f} s")


def _only(current: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Where there are no slots: the current version, shown like one."""
    if current is None:
        return []
    seen = {key: current[key] for key in ("version", "expires_at")}
    return [{"name": "-", "state": None, "stage": "current", **seen}]


def _in_words(one: dict[str, Any]) -> str:
    """What is current, and how each slot is, of which some may not be known yet."""
    current = one["current"]
    said = f"version {current['version']} is current" if current else "no version is current yet"
    slots = [
        " ".join(filter(None, (slot["name"], slot["state"], slot["stage"])))
        for slot in one["slots"]
        if slot["state"] or slot["stage"]
    ]
    return "; ".join(filter(None, (said, ", ".join(slots))))


def _seconds_to(moment: str) -> float:
    return (datetime.fromisoformat(moment) - SystemClock().now()).total_seconds()
