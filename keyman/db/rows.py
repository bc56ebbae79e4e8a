"""Between the model's frozen values and the journal's rows: which field is which column.

Fields and columns carry the same names, so a field that nobody gave a column makes the very
first save fail. Knows no SQL and no connection.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from keyman.core.model import Credential, KeySeen, Observed, Order, SlotSeen, Spec, Version
from keyman.db.decoding import decoding

Row = dict[str, Any]  # column → value

VERSION_FIELDS = tuple(field.name for field in fields(Version))
ORDER_FIELDS = tuple(field.name for field in fields(Order))
# In the configuration, in tables of their own, among the small facts.
ELSEWHERE = frozenset({"spec", "versions", "orders", "numbered"})
RECORD_FIELDS = tuple(f.name for f in fields(Credential) if f.name not in ELSEWHERE)
RECORD_COLUMNS = (*RECORD_FIELDS, "observed")


def version_row(version: Version) -> Row:
    return {key: getattr(version, key) for key in VERSION_FIELDS}


def order_row(order: Order) -> Row:
    return {key: getattr(order, key) for key in ORDER_FIELDS}


def record_row(credential: Credential, observed: Observed | None) -> Row:
    row = {key: getattr(credential, key) for key in RECORD_FIELDS}
    return row | {"observed": observed and _text(observed)}


@lru_cache(maxsize=128)
def _text(observed: Observed) -> str:
    return json.dumps(observed, default=_plain)  # kept: most saves repeat what was last observed


@decoding()
def version_of(row: Row) -> Version:
    return Version(**{key: row[key] for key in VERSION_FIELDS})


@decoding()
def order_of(row: Row) -> Order:
    return Order(**{key: row[key] for key in ORDER_FIELDS})


@decoding()
def credential_of(
    spec: Spec,
    row: Row,
    versions: tuple[Version, ...],
    orders: tuple[Order, ...],
) -> Credential:
    record = {key: row[key] for key in RECORD_FIELDS}
    return Credential(spec, versions=versions, orders=orders, **record)


@decoding()
def observed_of(text: str | None) -> Observed | None:
    if text is None:
        return None
    seen = json.loads(text)
    keys = tuple(_key(key) for key in seen["keys"])
    return Observed(_moment(seen["at"]), keys, tuple(seen.get("taken", ())))


def _key(seen: dict[str, Any]) -> KeySeen:
    return KeySeen(**seen | {"slots": tuple(_slot(slot) for slot in seen["slots"])})


def _slot(seen: dict[str, Any]) -> SlotSeen:
    times = {key: _moment(text) for key, text in seen.items() if key.endswith("_at") and text}
    return SlotSeen(**seen | times)


def _plain(value: Any) -> Any:
    """What json can't write by itself: a time, or one of the model's frozen values."""
    if isinstance(value, datetime):
        return _utc(value).isoformat()
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without its zone is not written down")
    return value.astimezone(UTC)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
