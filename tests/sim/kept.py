"""Stores of keyman's own kinds as rooms of the world: what is in them survives every power cut.

At a vault every single call may go wrong, and power may go before it and after it; at a store of
this machine that is so for each of its methods. The judges read what is there through a store of
their own, for which nothing goes wrong, and what strangers get from the imitation itself.
"""

from __future__ import annotations

import atexit
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from keyman import errors
from keyman.config import DEFAULT, load
from keyman.core.model import Secret
from keyman.stores import open_store
from keyman.stores.protocol import Placed, Pointing, Showing, Store
from tests.sim.cloud import PowerCut
from tests.vaults.gate import DONE_FORBIDDEN, DONE_LOST, FORBIDDEN, LOST, passes
from tests.vaults.kinds import Place, place_of

if TYPE_CHECKING:
    from tests.sim.world import World

R = TypeVar("R")

OF_A_CALL = ("cut", "done-cut", "lost", "done-lost", "down")
OF_A_METHOD = ("cut", "done-cut", "full")
PATIENCE = timedelta(seconds=30)  # of the real clock: a loaded machine is no outage


class Kept:
    """`copy`: it is a mirror, of which nothing but what strangers get concerns the judges."""

    def __init__(self, world: World, kind: str, *, copy: bool) -> None:
        self._world, self._copy = world, copy
        self._place = _served(kind)
        self._place.empty()
        self._gate = self._place.gate
        self._cut = self._down = False
        self._known: dict[tuple[str, int], Secret] | None = None
        self._store = self._judges = _opened(self._place)
        self.durable = self._store.durable
        if self._gate is not None:
            self._gate.carried_out = self._forget_what_is_known

    def reopen(self) -> None:
        """By another process."""
        for store in {id(s): s for s in (self._store, self._judges)}.values():
            store.close()
        self._store = _opened(self._place)
        self._judges = _opened(self._place) if self._place.gate else self._store
        self._known = None

    def _forget_what_is_known(self, _: str) -> None:
        self._known = None

    # What keyman does with it.

    def ready(self, name: str) -> None:
        self._do("ready", lambda: self._store.ready(name))
        if not self._copy:
            self._world.asked_the_store()

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        try:
            self._do("put", lambda: self._store.put(name, number, secret, slot=slot))
        finally:
            if not self._copy and self.secrets.get((name, number)) == secret:
                self._world.stored(number, secret.reveal())

    def get(self, name: str, number: int) -> Secret | None:
        return self._do("get", lambda: self._store.get(name, number))

    def drop(self, name: str, number: int) -> None:
        if not self._copy:
            self._world.dropping(number)
        self._do("drop", lambda: self._store.drop(name, number))

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        return self._do("list", lambda: self._store.list(name))

    def close(self) -> None:
        self._store.close()

    def _do(self, where: str, act: Callable[[], R]) -> R:
        """Raises PowerCut if power went meanwhile, whatever the store made of that."""
        self._cut = self._down = False
        if self._gate is None:
            return self._do_here(where, act)
        self._gate.fate = self._fate
        try:
            return act()
        finally:
            self._gate.fate = passes
            if self._cut:
                raise PowerCut

    def _do_here(self, where: str, act: Callable[[], R]) -> R:
        trouble = self._world.trouble(where, OF_A_METHOD)
        if trouble == "cut":
            raise PowerCut
        if trouble == "full":
            raise errors.StoreFailed("no space left")
        done, self._known = act(), None
        if trouble == "done-cut":
            raise PowerCut
        return done

    def _fate(self, operation: str) -> str:
        """Of one call; asked while whoever called waits for its answer."""
        if self._cut or self._down:
            return FORBIDDEN
        trouble = self._world.trouble(operation, OF_A_CALL)
        self._cut, self._down = trouble in ("cut", "done-cut"), trouble == "down"
        return {
            "cut": FORBIDDEN,
            "done-cut": DONE_FORBIDDEN,
            "lost": LOST,
            "done-lost": DONE_LOST,
            "down": FORBIDDEN,
        }.get(trouble, "")

    # What is so.

    @property
    def secrets(self) -> dict[tuple[str, int], Secret]:
        if self._known is None:
            found = {each: self._judges.get(*each) for each in self._judges.list()}
            self._known = {each: secret for each, secret in found.items() if secret is not None}
        return self._known


class KeptShown(Kept):
    """A vault, which has a current secret of its own."""

    def point(self, name: str, number: int | None) -> None:
        try:
            self._do("point", lambda: self._pointing.point(name, number))
        finally:
            value = self._place.shown(name)
            self._world.pointing(value)

    def pointed(self, name: str) -> int | None:
        return self._do("pointed", lambda: self._pointing.pointed(name))

    @property
    def _pointing(self) -> Pointing:
        assert isinstance(self._store, Pointing)
        return self._store

    @property
    def shown(self) -> tuple[int, Secret] | None:
        """Which version strangers get, by what is in the vault under that number."""
        name = self._world.setup.name
        value = self._place.shown(name)
        assert isinstance(self._judges, Pointing)
        number = None if value is None else self._judges.pointed(name)
        return None if value is None or number is None else (number, Secret(value))


class KeptTold(KeptShown):
    """One that tells what strangers get, and where it is."""

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        return self._do("read_current", lambda: cast("Showing", self._store).read_current(name))

    def place(self, name: str, number: int) -> str | None:
        return self._do("place", lambda: cast("Placed", self._store).place(name, number))


def room(world: World, kind: str, *, copy: bool) -> Kept:
    return _like(kind)(world, kind, copy=copy)


@cache
def _like(kind: str) -> type[Kept]:
    """By what its stores can do: keyman asks them the same way."""
    with closing(_opened(_served(kind))) as store:
        if isinstance(store, Showing) and isinstance(store, Placed):
            return KeptTold
        return KeptShown if isinstance(store, Pointing) else Kept


@cache
def _served(kind: str) -> Place:
    """One for all worlds of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="keyman-sim-"))
    place = place_of(kind, Path(folder))
    stack.enter_context(place.served())
    os.environ.update(place.environment())
    return place


@cache
def _options(place: Place) -> dict[str, Any]:
    """What the configuration makes of it."""
    config = place.folder / "config.yaml"
    config.write_text(f"store: {json.dumps(place.section())}\ncredentials: {{}}\n")
    config.chmod(0o600)
    home = place.folder / "home"
    home.mkdir(exist_ok=True)
    options = load(config, home=home, environ={}).stores[DEFAULT].options()
    if place.gate:
        options["timeout"] = PATIENCE
    return {**options, "installation": "here", "home": home}


def _opened(place: Place) -> Store:
    return open_store(place.section()["kind"], _options(place))
