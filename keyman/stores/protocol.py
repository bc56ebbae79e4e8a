"""What a store (a place where secrets rest) must be able to do.

A secret is addressed by (name, number). `put` returns only when the secret is durable; putting
again replaces it. All of them raise errors.StoreFailed, and only that;
SecretDamaged if one secret can never be read again though the store is in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from keyman.core.model import Secret


class Store(Protocol):
    durable: bool  #: False: everything is gone after a restart, on purpose

    def ready(self, name: str) -> None:
        """Raise StoreFailed if a `put` for that name would surely fail now. Changes nothing.

        Asked before something is done that brings a secret which is shown only once.
        """

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        """Keep the secret. Refuses newline, CR and NUL, and anything above 16 KiB."""

    def get(self, name: str, number: int) -> Secret | None:
        """The secret, or None if there is none under that address."""

    def drop(self, name: str, number: int) -> None:
        """Forget it. Harmless if there is none."""

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        """The addresses in use, sorted."""

    def close(self) -> None: ...


Kept = tuple[str, int, Secret, str | None]  #: name, number, secret, slot: what `put` is given


@runtime_checkable
class Wholesale(Store, Protocol):
    """A store that takes or drops many at once for little more than one: all of them or none."""

    def put_all(self, secrets: Sequence[Kept]) -> None: ...
    def drop_all(self, addresses: Sequence[tuple[str, int]]) -> None: ...


@runtime_checkable
class Pointing(Store, Protocol):
    """A store that itself has a current secret, for those who read it without knowing keyman."""

    def point(self, name: str, number: int | None) -> None:
        """Have direct readers get this version, which is stored; with None, none at all.
        Harmless if they do already.
        """

    def pointed(self, name: str) -> int | None:
        """Which version direct readers get; None if none."""


@runtime_checkable
class Showing(Pointing, Protocol):
    """One that tells also what direct readers get, so that somebody's change of it is noticed."""

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        """What `pointed` says, and the secret itself. At most one call more than that."""


@runtime_checkable
class Placed(Store, Protocol):
    """One that can tell whether another store, under another name, is the very same place."""

    def place(self, name: str, number: int) -> str | None:
        """Names what holds that secret: the same by whatever way it is reached, and nothing else
        so. None if there is none. It is no secret itself.
        """
