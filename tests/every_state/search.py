"""Breadth-first through every state that can be reached, and then: does each of them come to rest?

A state is kept until it was gone on with; afterwards only its name stays, with who led to it and
which state follows it if nothing goes wrong any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from keyman.core.steps import name_of
from tests.every_state.code import Code
from tests.every_state.hands import Hands
from tests.every_state.judge import Judge
from tests.every_state.moves import Moves
from tests.every_state.naming import name
from tests.every_state.process import Process
from tests.every_state.provider import Ways
from tests.every_state.world import Budget, World, beginning

AT_REST, UNKNOWN = -1, -2
RESTLESS = "L (I3, I4, I7): once nothing goes wrong any more, no rest is found"
MANY = 60  # calm moves shown at the end of a way


@dataclass(frozen=True, slots=True)
class Switches:
    """Mechanisms that are not in the rules, so that no planted passage switches them off."""

    matching: bool = True  #: changes carry if-match
    intends: bool = True  #: a wish is saved before it is asked for


@dataclass(slots=True)
class Found:
    states: int = 0
    moves: int = 0
    depth: int = 0
    seconds: float = 0.0
    exhausted: bool = False
    broken: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """What broke, by its first word: the sentence, and the moves that lead there."""


class Search:
    def __init__(
        self, code: Code, left: Budget, ways: Ways, switches: Switches | None = None
    ) -> None:
        switches = switches or Switches()
        self.judge = Judge(code, ways)
        process = Process(code, Hands(ways, matching=switches.matching), intends=switches.intends)
        self.moves = Moves(process, self.judge, ways)
        self.start = beginning(left, ways)
        self.numbers: dict[bytes, int] = {}
        self.came_from: list[tuple[int, int]] = []  # the state before, and which of its moves
        self.depths: list[int] = []
        self.follows: list[int] = []
        self.waiting: deque[tuple[int, World]] = deque()
        self.found = Found()

    def run(self, limit: int, *, first_only: bool = False) -> Found:
        """Every state, or as many as the limit allows; `first_only`: until something breaks."""
        began, found = time.monotonic(), self.found
        self._met(self.start, -1, -1)
        while self.waiting and len(self.numbers) < limit:
            self._expand(*self.waiting.popleft())
            if first_only and found.broken:
                break
        found.exhausted = not self.waiting
        found.states = len(self.numbers)
        found.depth = max(self.depths)
        if not (first_only and found.broken):
            self._come_to_rest()
        found.seconds = time.monotonic() - began
        return found

    def _met(self, world: World, before: int, move: int) -> int:
        named = name(world)
        number = self.numbers.get(named)
        if number is None:
            number = self.numbers[named] = len(self.came_from)
            self.came_from.append((before, move))
            self.depths.append(self.depths[before] + 1 if before >= 0 else 0)
            self.follows.append(UNKNOWN)
            self.waiting.append((number, world))
        return number

    def _expand(self, number: int, world: World) -> None:
        try:
            moves = list(self.moves.all(world))
            self._calm(number, world, moves[0].world if moves[0].ours else None)
            for at, move in enumerate(moves):
                self.found.moves += 1
                if move.ours:
                    said = self.judge.broken(world, move.world, calls=move.calls)
                    if said:
                        self._broke(said, number, at)
                self._met(move.world, number, at)
        except AssertionError as error:
            self._broke(f"A assertion: {error}", number, -1)

    def _calm(self, number: int, world: World, first: World | None = None) -> None:
        """The state that follows if nothing goes wrong any more."""
        after = self.moves.calm(world, first)
        self.follows[number] = AT_REST if after is None else self._met(after, number, -1)

    def _broke(self, said: str, number: int, move: int) -> None:
        kind = said.split(maxsplit=1)[0]
        if kind not in self.found.broken:
            self.found.broken[kind] = said, (*self.path(number), move)

    def path(self, number: int) -> tuple[int, ...]:
        moves: list[int] = []
        while number > 0:
            number, move = self.came_from[number]
            moves.append(move)
        return tuple(reversed(moves))

    # Rest.

    def _come_to_rest(self) -> None:
        while self.waiting:  # only if the limit cut the search short
            number, world = self.waiting.popleft()
            try:
                self._calm(number, world)
            except AssertionError as error:
                self._broke(f"A assertion: {error}", number, -1)
        restless = next(self._restless(), None)
        if restless is not None:
            self._broke(RESTLESS, restless, -1)

    def _restless(self) -> Iterator[int]:
        """States from which the calm way never ends."""
        rests: dict[int, bool] = {AT_REST: True, UNKNOWN: True}
        for number in range(len(self.follows)):
            way: list[int] = []
            at = number
            while at not in rests:
                rests[at] = False  # met again on this way: it goes round
                way.append(at)
                at = self.follows[at]
            for each in way:
                rests[each] = rests[at]
            if not rests[number]:
                yield number

    # Again.

    def retrace(self, path: tuple[int, ...]) -> Iterator[tuple[str, World]]:
        """What happens on the way, move by move; a calm one has no number, and at the end of the
        way there are as many of those as it takes.
        """
        world = self.start
        for at in path[:-1]:
            label, world = self._again(world, at)
            yield label, world
        if path[-1] >= 0:
            yield self._again(world, path[-1])
            return
        for _ in range(MANY):
            label, after = self._again(world, -1)
            yield label, after
            if after is world:
                return
            world = after

    def judged(self, path: tuple[int, ...]) -> str | None:
        """What the last move of this way breaks, or the rest that is not found after it."""
        world = self.start
        for at in path[:-1]:
            world = self._again(world, at)[1]
        if path[-1] >= 0:
            move = next(islice(self.moves.all(world), path[-1], None))
            return self.judge.broken(world, move.world, calls=move.calls) if move.ours else None
        met: set[bytes] = set()
        while (named := name(world)) not in met:
            met.add(named)
            after = self.moves.calm(world)
            if after is None:
                return None
            world = after
        return RESTLESS

    def _again(self, world: World, at: int) -> tuple[str, World]:
        if at >= 0:
            move = next(islice(self.moves.all(world), at, None))
            return move.label, move.world
        after = self.moves.calm(world)
        return ("at rest", world) if after is None else (self._calm_label(world), after)

    def _calm_label(self, world: World) -> str:
        if world.held:
            return f"goes on with {name_of(world.held.step)}"
        if world.flying:
            return "a call is lost"
        gets = self.judge.handed(world)
        if gets is not None and world.client.value != gets:
            return "the client looks up"
        return name_of(self.moves.process.next_step(world))
