"""One store compared with one record, and the moves that brings it there, made.

Looks before and after: what a store was told counts for nothing, only what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyman import errors
from keyman.core import copies
from keyman.core.copies import Drop, Goal, Move, Point, Put, Shown
from keyman.core.model import Credential, Secret
from keyman.stores.protocol import Pointing, Store


@dataclass(frozen=True, slots=True)
class Comparing:
    """`secret(number)` reads one of the credential's secrets; it raises StoreFailed.

    `goes_on()` is asked before every move: False once the credential is not to be followed.
    """

    store: Store
    record: Credential
    aim: Goal
    own: bool  #: it is the credential's own store
    secret: Callable[[int], Secret | None]
    goes_on: Callable[[], bool]

    def look(self) -> Shown:
        """What it shows now. Raises StoreFailed."""
        name = self.record.name
        numbers = frozenset(number for _, number in self.store.list(name))
        right = numbers & set(self.aim.numbers)
        if not self.own:
            right = frozenset(number for number in right if self._is_right(number))
        if isinstance(self.store, Pointing):
            return Shown(numbers, right, points=True, pointed=self.store.pointed(name))
        return Shown(numbers, right)

    def converge(self) -> Shown:
        """Make the moves there are; returns what it shows then. Raises StoreFailed."""
        plan = copies.moves_of_own if self.own else copies.moves_of_mirror
        shown = self.look()
        moves = list(plan(self.record, self.aim, shown))
        if not moves:
            return shown
        self._make(moves)
        return self.look()

    def _is_right(self, number: int) -> bool:
        """Numbers come again after a journal was restored: what counts is the secret."""
        try:
            found = self.store.get(self.record.name, number)
        except errors.SecretDamaged:
            return False
        try:
            ours = self.secret(number)
        except errors.StoreFailed:  # its own store is away: nothing speaks against the copy
            ours = None
        return found is not None and (ours is None or found == ours)

    def _make(self, moves: Sequence[Move]) -> None:
        """Each, though others fail: room for a new version may come by dropping an old one."""
        failed: list[errors.StoreFailed] = []
        missing: set[int | None] = set()
        for move in moves:
            if move.number in missing or not self.goes_on():
                continue
            try:
                self._move(move)
            except errors.StoreFailed as error:
                failed.append(error)
                missing |= {move.number} if isinstance(move, Put) else set()
        if failed:
            raise failed[0]

    def _move(self, move: Move) -> None:
        name = self.record.name
        match move:
            case Put(number):
                self._put(number)
            case Point(number):
                assert isinstance(self.store, Pointing)
                self.store.point(name, number)
            case Drop(number):
                self.store.drop(name, number)

    def _put(self, number: int) -> None:
        name, version = self.record.name, self.record.version(number)
        secret = self.secret(number)
        if secret is None:
            raise errors.StoreFailed(
                f"{name}: the secret of version {number} is not in its own store",
                hint=f"`keyman status {name}` says what is being done about it",
            )
        self.store.put(name, number, secret, slot=version.slot if version else None)
