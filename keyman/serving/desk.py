"""What the agent asks of the rest of keyman, as one small protocol.

Each call may block (journal, provider), so it is made in a worker thread; each raises what
errors.py names and nothing else on purpose.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from keyman.core.model import Secret
from keyman.core.news import News
from keyman.desk import Entrusted, Wish
from keyman.views import Json


class Desk(Protocol):
    def names(self) -> list[str]:
        """The credentials of the configuration."""

    def status(self, name: str) -> Json:
        """One element of `status --json`. Raises NotFound."""

    def statuses(self) -> list[Json]: ...

    def order(self, name: str, wish: Wish, *, key: str | None = None) -> Json:
        """Record an order and give its receipt; the same key gives the same order again."""

    def receipt(self, order_id: str) -> Json:
        """What the order has come to so far, at once. Raises NotFound."""

    def rejected(self, name: str, version: int, by: str) -> None:
        """A client says that the provider refused this version."""

    def adopt(self, name: str, key: Entrusted, by: str) -> Json: ...

    def put(self, name: str, secret: Secret, expires_at: datetime | None, by: str) -> Json: ...

    def forget(self, name: str, by: str, *, revoke: bool = False) -> Json:
        """Drop all that is known of a credential that left the configuration.

        With `revoke`, after destroying its secrets at the provider.
        """

    def news(self, seen: int, many: int) -> list[tuple[int, News]]:
        """So many that came after number `seen`, oldest first, each with its number."""

    def news_kept(self) -> tuple[int, int]:
        """The numbers of the oldest and the newest that are kept; (0, 0) if none ever came."""

    def notified(self) -> list[Json]:
        """How it is with those who are told what happens: `notify` of `status --json`."""

    def ready(self) -> None:
        """Raises an Error unless journal and stores answer."""
