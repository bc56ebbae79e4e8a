"""SIGKILL at named failpoints, of a rotation and of what goes on from there.

A history is a setup and up to three kills in a row, each at the n-th passing of one name, or of
any name ("*"), counted from that process's start. What comes to its end without the last of them
is judged all the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.failpoints.folders import Folders
from tests.failpoints.points import NAMES
from tests.failpoints.process import Board, begin, ended, killing, live, recover
from tests.sim.invariants import Broken

SETUPS = (
    *("plain", "bare", "rejected", "ignored", "unmatched", "final", "revoking", "blind"),
    *("first", "first-bare", "fresh"),
)
ANY = "*"
EVENLY = 48  # of so many kills one at least is at each name; there are 42
SOON = 40  # passings of a recovery that are likely to come


@dataclass(frozen=True, slots=True)
class Kill:
    """At the n-th passing of that name."""

    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.name.replace(' ', '-')}#{self.nth}"

    @classmethod
    def heard(cls, word: str) -> Kill:
        name, _, nth = word.partition("#")
        known = {each.replace(" ", "-"): each for each in (*NAMES, ANY)}
        return cls(known[name], int(nth))

    def chosen(self) -> Callable[[str], bool]:
        left = [self.nth]

        def chooses(name: str) -> bool:
            meant = self.name in (ANY, name)
            left[0] -= meant
            return meant and left[0] == 0

        return chooses


@dataclass(frozen=True, slots=True)
class History:
    setup: str
    kills: tuple[Kill, ...]

    def __str__(self) -> str:
        return " ".join((self.setup, *map(str, self.kills)))

    @classmethod
    def heard(cls, text: str) -> History:
        setup, *words = text.split()
        return cls(setup, tuple(map(Kill.heard, words)))


@dataclass(slots=True)
class Lived:
    """Where its processes were killed, what each passed, and what was broken."""

    killed: list[str] = field(default_factory=list)
    passed: list[tuple[str, ...]] = field(default_factory=list)
    broken: str = ""


def lived(folders: Folders, history: History) -> Lived:
    home, life = folders.fresh(history.setup), Lived()
    board, act = Board(), live
    try:
        for kill in (*history.kills, None):
            fate = killing(home, board, kill.chosen()) if kill else None
            said = ended(begin(home, act, board, fate), board)
            life.passed.append(said.passed)
            life.broken = said.broken
            if not said.at or said.broken:
                break
            life.killed.append(said.at)
            home, act = folders.going_on(said.packed), recover
    finally:
        board.close()
    return life


# What is tried next.


@dataclass(slots=True)
class Plan:
    """Kills where there were fewest so far; the same for the same dice."""

    dice: random.Random
    setups: dict[str, Counter[str]]  #: what each passes when nothing is killed
    killed: Counter[str] = field(default_factory=Counter)
    later: dict[str, list[History]] = field(default_factory=dict)
    """What is passed only by who goes on from a kill: the histories that lead there."""

    def next(self) -> History:
        name = min(self.reachable(), key=lambda each: (self.killed[each], each))
        if name in self.later:
            before = self.dice.choice(self.later[name])
            return History(before.setup, (*before.kills, Kill(name, 1)))
        setup = self.dice.choice([s for s, passed in self.setups.items() if passed[name]])
        aimed = Kill(name, self.dice.randint(1, self.setups[setup][name]))
        early, late = (Kill(ANY, self.dice.randint(1, SOON)) for _ in range(2))
        kills = self.dice.choice(((aimed,), (aimed, late), (early, aimed), (early, aimed, late)))
        return History(setup, kills)

    def reachable(self) -> list[str]:
        return [name for name in NAMES if name in self.later or self._at_first(name)]

    def fewest(self) -> int:
        return min(self.killed[name] for name in self.reachable())

    def _at_first(self, name: str) -> bool:
        return any(passed[name] for passed in self.setups.values())

    def learn(self, history: History, life: Lived) -> None:
        self.killed.update(life.killed)
        for after, passed in enumerate(life.passed[1:], start=1):
            led = History(history.setup, history.kills[:after])
            for name in set(passed):
                if not self._at_first(name) and led not in self.later.setdefault(name, []):
                    self.later[name].append(led)


def begun(folders: Folders, dice: random.Random, setups: tuple[str, ...] = SETUPS) -> Plan:
    """Each setup is lived once without a kill, for what it passes. Raises Broken if that fails."""
    passed = {}
    for setup in setups:
        life = lived(folders, History(setup, ()))
        if life.broken:
            raise Broken("L", f"{setup} without any kill: {life.broken}")
        passed[setup] = Counter(life.passed[-1])
    return Plan(dice, passed)


def killed(folders: Folders, plan: Plan, count: int) -> Iterator[tuple[History, Lived]]:
    """So many kills at least, and at no name much fewer than at others."""
    while plan.killed.total() < count or plan.fewest() < count // EVENLY:
        history = plan.next()
        life = lived(folders, history)
        plan.learn(history, life)
        yield history, life
