"""One store compared with one record, and the moves that brings it there, made.

Looks before and after: what a store was told counts for nothing, only what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyman import errors
from keyman.core import copies
from keyman.core.copies import Drop, Goal, Move, Point, Put, Shown
from keyman.core.model import Credential, Secret, Stage, Version
from keyman.stores.protocol import Placed, Pointing, Showing, Store


@dataclass(frozen=True, slots=True)
class Comparing:
    """`secret(number)` reads one of the credential's secrets; it raises StoreFailed.

    `proven(number)` tells whether the current one was seen to work since direct readers were first
    found with that number, of which the record knows nothing.
    `goes_on()` is asked before every move: False once the credential is not to be followed.
    `copies(number)` is called before each secret that is put; it raises StoreFailed or Conflict if
    the history can't tell of it, and then that is not put.
    """

    store: Store
    record: Credential
    aim: Goal
    own: bool  #: it is the credential's own store
    beside: Store  #: that one
    proven: Callable[[int], bool]
    secret: Callable[[int], Secret | None]
    goes_on: Callable[[], bool]
    copies: Callable[[int], None] = lambda _: None

    def look(self) -> Shown:
        """What it shows now. Raises StoreFailed."""
        name = self.record.name
        numbers = frozenset(number for _, number in self.store.list(name))
        right = numbers & set(self.aim.numbers)
        if not self.own:
            right = frozenset(number for number in right if self._is_right(number))
        if not isinstance(self.store, Pointing):
            return Shown(numbers, right)
        pointed, is_right = self._pointed(self.store)
        return Shown(
            numbers,
            right,
            points=True,
            pointed=pointed,
            altered=is_right is False,
            pointed_right=is_right is True,
        )

    def _pointed(self, store: Pointing) -> tuple[int | None, bool | None]:
        """The number of what direct readers get, and whether it has its secret; None: not known."""
        name = self.record.name
        if not isinstance(store, Showing):
            return store.pointed(name), None
        number, secret = store.read_current(name) or (None, None)
        version = self.record.version(number) if number is not None else None
        if version is None or secret is None:
            return number, None
        return number, self._is_of(version, secret)

    def converge(self) -> Shown:
        """Make the moves there are; returns what it shows then. Raises StoreFailed, and Conflict
        if the history of a copy can't be written just now.
        """
        plan = copies.moves_of_own if self.own else copies.moves_of_mirror
        shown = self.look()
        proven = copies.unknown(self.record, shown) and self.proven(shown.pointed or 0)
        moves = list(plan(self.record, self.aim, shown, proven=proven))
        if not moves:
            return shown
        self._make(moves)
        return self.look()

    def _refuse_its_own_place(self, number: int) -> None:
        """What a mirror drops may be needed by the steps, if it is their store by another name."""
        version = self.record.version(number)
        if self.own or version is None or not version.stored or version.stage is Stage.REVOKED:
            return
        if not (isinstance(self.store, Placed) and isinstance(self.beside, Placed)):
            return
        name = self.record.name
        here = self.store.place(name, number)
        if here is not None and here == self.beside.place(name, number):
            raise errors.StoreFailed(
                f"it is the very place in which {name} rests, by another name",
                hint=f"take it out of the `mirrors` of {name}: nothing was dropped",
            )

    def _is_of(self, version: Version | None, secret: Secret | None) -> bool:
        installation = self.record.spec.installation
        return version is not None and secret is not None and version.is_of(secret, installation)

    def _is_right(self, number: int) -> bool:
        """Numbers come again after a journal was restored: what counts is the secret."""
        try:
            found = self.store.get(self.record.name, number)
        except errors.SecretDamaged:
            return False
        version = self.record.version(number)
        if version is not None and version.fingerprint is not None:
            return self._is_of(version, found)
        try:
            ours = self.secret(number)
        except errors.StoreFailed:  # its own store is away: nothing speaks against the copy
            ours = None
        return found is not None and (ours is None or found == ours)

    def _make(self, moves: Sequence[Move]) -> None:
        """Each, though others fail: room for a new version may come by dropping an old one, and
        what must not be handed out any more leaves whether or not the history can be written.
        """
        failed: list[errors.StoreFailed | errors.Conflict] = []
        missing: set[int | None] = set()
        for move in moves:
            if move.number in missing or not self.goes_on():
                continue
            try:
                self._move(move)
            except (errors.StoreFailed, errors.Conflict) as error:
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
                self._point(number)
            case Drop(number):
                self._refuse_its_own_place(number)
                self.store.drop(name, number)

    def _point(self, number: int | None) -> None:
        name = self.record.name
        assert isinstance(self.store, Pointing)
        if self.own and number is not None and not self._is_right(number):
            raise self._changed(number)
        self.store.point(name, number)

    def _changed(self, number: int) -> errors.SecretDamaged:
        return errors.SecretDamaged(
            f"{self.record.name}/{number} in its own store is not what keyman put there",
            hint="direct readers do not get it; restarting keyman looks for another copy",
        )

    def _put(self, number: int) -> None:
        name, version = self.record.name, self.record.version(number)
        secret = self.secret(number)
        if secret is None:
            raise errors.StoreFailed(
                f"{name}: the secret of version {number} is not in its own store",
                hint=f"`keyman status {name}` says what is being done about it",
            )
        if version is not None and not self._is_of(version, secret):
            raise self._changed(number)
        self.copies(number)
        self.store.put(name, number, secret, slot=version.slot if version else None)
