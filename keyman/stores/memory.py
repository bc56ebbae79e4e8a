"""A store that forgets: values live in this process only, and end with it.

For short-lived tokens: what is never written down cannot be found later.
"""

from __future__ import annotations

from keyman.core.model import Secret
from keyman.stores.limits import fitting


class Memory:
    durable = False

    def __init__(self) -> None:
        self._secrets: dict[tuple[str, int], Secret] = {}

    def ready(self, name: str) -> None:
        """There is always room."""

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        fitting(name, secret)
        self._secrets[name, number] = secret

    def get(self, name: str, number: int) -> Secret | None:
        return self._secrets.get((name, number))

    def drop(self, name: str, number: int) -> None:
        self._secrets.pop((name, number), None)

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        # A copy, made in one go: other threads may put meanwhile.
        return sorted(address for address in self._secrets.copy() if name in (None, address[0]))

    def close(self) -> None:
        self._secrets.clear()
