"""The small facts beside the records: this installation's name, where a credential's provider was
when it was last configured, how far the versions of a forgotten one were numbered, and which
Idempotency-Key stands for which order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, delete, insert, select, update

from keyman.clock import new_id
from keyman.db.decoding import decoding
from keyman.db.sqlite import writing
from keyman.db.tables import IDEMPOTENCY, META
from keyman.errors import ConfigError, Conflict

KEYS_LIVE = timedelta(hours=48)  # at least 24 hours are promised
_INSTALLATION = select(META.c.value).where(META.c.key == "installation")


def installation(engine: Engine, *, may_make: bool) -> str:
    """This installation's name; drawn once, then always the same."""
    with engine.connect() as connection:
        found: str | None = connection.execute(_INSTALLATION).scalar_one_or_none()
    if found is None and may_make:
        with writing(engine).begin() as connection:
            return _made(connection)
    if found is None:
        raise ConfigError(
            "the journal was never opened for writing", hint="start `keyman daemon` once"
        )
    return found


def _made(connection: Connection) -> str:
    found: str | None = connection.execute(_INSTALLATION).scalar_one_or_none()
    if found is not None:  # somebody else drew it while we waited for our turn
        return found
    drawn = new_id()
    connection.execute(insert(META), {"key": "installation", "value": drawn})
    return drawn


def whereabouts(connection: Connection, name: str) -> str | None:
    """What `remember` was last told of this credential."""
    found = select(META.c.value).where(META.c.key == _whereabouts(name))
    said: str | None = connection.execute(found).scalar_one_or_none()
    return said


def every_whereabouts(connection: Connection) -> dict[str, str]:
    """The same of all, by their names."""
    return _beginning_with(connection, _WHEREABOUTS)


def remember(connection: Connection, whereabouts: Mapping[str, str | None]) -> None:
    """By the credentials' names; None forgets."""
    kept = [
        {"key": _whereabouts(name), "value": said}
        for name, said in whereabouts.items()
        if said is not None
    ]
    named = [{"of_key": _whereabouts(name)} for name in whereabouts]
    connection.execute(delete(META).where(META.c.key == bindparam("of_key")), named)
    if kept:
        connection.execute(insert(META), kept)


_WHEREABOUTS = "whereabouts "


def _whereabouts(name: str) -> str:
    return _WHEREABOUTS + name


def numbered(connection: Connection, name: str) -> int:
    """The highest number that a version had when its credential was forgotten; 0 if none had."""
    found = select(META.c.value).where(META.c.key == _numbered(name))
    said: str | None = connection.execute(found).scalar_one_or_none()
    with decoding():
        return int(said or 0)


def number(connection: Connection, name: str, highest: int) -> None:
    connection.execute(delete(META).where(META.c.key == _numbered(name)))
    connection.execute(insert(META), {"key": _numbered(name), "value": str(highest)})


def _numbered(name: str) -> str:
    return f"numbered {name}"


def told(connection: Connection) -> dict[str, str]:
    """What each target of `notify` was told, by its name."""
    return _beginning_with(connection, _TOLD)


def tell(connection: Connection, target: str, said: str | None) -> None:
    connection.execute(delete(META).where(META.c.key == _TOLD + target))
    if said is not None:
        connection.execute(insert(META), {"key": _TOLD + target, "value": said})


_TOLD = "told "


def _beginning_with(connection: Connection, prefix: str) -> dict[str, str]:
    found = select(META.c.key, META.c.value).where(META.c.key.startswith(prefix, autoescape=True))
    return {key.removeprefix(prefix): value for key, value in connection.execute(found)}


def claim_key(
    connection: Connection, key: str, name: str, wish: str, order_id: str, now: datetime
) -> str:
    """The order that the key stands for: the first one that claimed it, for the same wish."""
    connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.at < now - KEYS_LIVE))
    asked = select(IDEMPOTENCY.c.order_id, IDEMPOTENCY.c.wish).where(_key(key, name))
    found = connection.execute(asked).one_or_none()
    if found is None:
        claimed = {"key": key, "name": name, "wish": wish, "order_id": order_id, "at": now}
        connection.execute(insert(IDEMPOTENCY), claimed)
        return order_id
    if found.wish not in (wish, None):  # None: claimed before wishes were kept
        raise Conflict(
            "this Idempotency-Key was used for another wish", hint="a new wish takes a new key"
        )
    first: str = found.order_id
    return first


def bind_key(connection: Connection, key: str, name: str, order_id: str) -> None:
    bound = update(IDEMPOTENCY).where(_key(key, name))
    connection.execute(bound, {"order_id": order_id})


def _key(key: str, name: str) -> ColumnElement[bool]:
    return (IDEMPOTENCY.c.key == key) & (IDEMPOTENCY.c.name == name)
