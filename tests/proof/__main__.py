"""The whole proof: python -m tests.proof [--long] [--only PART ...]

Runs every part by the command that anyone may run by itself, one after another, and prints a table
of what was tried, how often, and what broke. What a part says goes to the terminal as it comes.
Exit status 1 if anything broke, or a part ended without its figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.proof.parts import PARTS, Part
from tests.proof.report import MARK


@dataclass(frozen=True, slots=True)
class Figures:
    """What a part came to; `broken` is None where it ended without saying so."""

    part: Part
    command: str
    tried: dict[str, int] = field(default_factory=dict)
    broken: int | None = None
    seconds: int = 0


def figures(part: Part, *, long: bool) -> Figures:
    """Run one part; its last line of figures counts."""
    command = part.command(long=long)
    print(f"\n{part.name}: {command}", flush=True)
    words = [sys.executable, *command.split()[1:]]
    said = ""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print("   " + line, end="", flush=True)
            said = line.removeprefix(MARK) if line.startswith(MARK) else said
    if not said:
        print(f"   it ended with status {process.returncode} and without its figures")
        return Figures(part, command)
    told = json.loads(said)
    broken = told["broken"] or (1 if process.returncode else 0)
    return Figures(part, command, told["tried"], broken, told["seconds"])


def table(found: list[Figures]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("what was tried")
    made.add_column("how often")
    made.add_column("broken", justify="right")
    made.add_column("seconds", justify="right")
    made.add_column("command", overflow="fold")
    for one in found:
        often = "\n".join(f"{count:,} {what}" for what, count in one.tried.items())
        broken = "no figures" if one.broken is None else f"{one.broken:,}"
        made.add_row(one.part.what, often, broken, f"{one.seconds:,}", one.command)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--long", action="store_true", help="what needs more than an hour as well")
    parser.add_argument("--only", nargs="+", choices=[p.name for p in PARTS], metavar="PART")
    asked = parser.parse_args()
    began = time.monotonic()
    wanted = [part for part in PARTS if asked.only is None or part.name in asked.only]
    found = [figures(part, long=asked.long) for part in wanted]
    print()
    Console(width=None if sys.stdout.isatty() else 150).print(table(found))
    broken = sum(1 for one in found if one.broken != 0)
    print(f"\n{len(found)} parts in {(time.monotonic() - began) / 60:.0f} minutes: {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
