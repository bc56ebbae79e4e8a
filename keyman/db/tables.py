"""The journal's tables, as the newest migration leaves them. Nobody outside this room reads them.

A row of `versions` or `orders` is its dataclass in keyman.core.model, column by field; a row of
`credentials` likewise, without the configuration (only the kind of provider, so that a name can't
change hands unnoticed) and with what was last observed. No column is made for a secret.

Every time and every span is an integer count of microseconds, so that SQL compares and sorts
them rightly on any database and no column can hold a time without its zone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from keyman.core.model import OrderKind, OrderState, Stage

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware datetime; comes back in UTC. One without a zone is refused."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> int | None:
        return None if value is None else (value - EPOCH) // TICK

    def process_result_value(self, value: int | None, dialect: object) -> datetime | None:
        return None if value is None else EPOCH + value * TICK


class Span(TypeDecorator[timedelta]):
    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: object) -> int | None:
        return None if value is None else value // TICK

    def process_result_value(self, value: int | None, dialect: object) -> timedelta | None:
        return None if value is None else value * TICK


class Word(TypeDecorator[StrEnum]):
    """A member of one of the model's enums, by its value."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, dialect: object) -> str | None:
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: object) -> StrEnum | None:
        return None if value is None else self.words(value)


class Numbers(TypeDecorator[tuple[int, ...]]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[int, ...] | None, dialect: object) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: object) -> tuple[int, ...] | None:
        return None if value is None else tuple(json.loads(value))


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


def _required(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=False, **options)


META = Table(
    "meta",
    METADATA,
    _required("key", Text, primary_key=True),
    _required("value", Text),
)

CREDENTIALS = Table(
    "credentials",
    METADATA,
    _required("name", Text, primary_key=True),
    _required("provider", Text),
    Column("home", Text),
    Column("silence", Text),
    _required("driver", BigInteger),
    _required("epoch", BigInteger),
    _required("claimed", BigInteger),
    _required("fenced", Boolean),
    Column("unanswered_at", Moment),
    Column("doubt_at", Moment),
    _required("failures", BigInteger),
    Column("failed_step", Text),
    Column("retry_at", Moment),
    Column("last_error", Text),
    Column("last_hint", Text),
    _required("revision", BigInteger),
    Column("observed", Text),  # keyman.db.rows says how it is written
    Column("told", Text),
)

VERSIONS = Table(
    "versions",
    METADATA,
    _required("name", Text, ForeignKey("credentials.name", ondelete="CASCADE"), primary_key=True),
    _required("number", BigInteger, primary_key=True, autoincrement=False),
    _required("stage", Word(Stage)),
    _required("attempt", Text),
    _required("requested_at", Moment),
    Column("expires_at", Moment),
    Column("slot", Text),
    Column("handle", Text),
    Column("carries", BigInteger),
    Column("mask", Text),
    Column("mask_before", Text),
    Column("expires_before", Moment),
    Column("fingerprint", Text),
    Column("issued_at", Moment),
    Column("activated_at", Moment),
    Column("probe_from", Moment),
    Column("probed_at", Moment),
    _required("successes", BigInteger),
    _required("refusals", BigInteger),
    Column("verified_at", Moment),
    Column("promoted_at", Moment),
    Column("replaced_at", Moment),
    Column("overlap", Span),
    Column("retired_at", Moment),
    Column("revoked_at", Moment),
    Column("reported_at", Moment),
    Column("examined_at", Moment),
    Column("dead_at", Moment),
    Column("compromised_at", Moment),
    _required("revoke_first", Boolean),
    Column("given_up", Text),
    _required("slot_refused", Boolean),
    _required("stored", Boolean),
    Column("restored_at", Moment),
)

# Not tied to credentials by a foreign key: the receipt of a finished order outlives its subject.
ORDERS = Table(
    "orders",
    METADATA,
    Column("seq", Integer, primary_key=True),  # keeps the order in which they came
    _required("id", Text, unique=True),
    _required("name", Text),
    _required("kind", Word(OrderKind)),
    _required("recorded_at", Moment),
    _required("by", Text),
    _required("reason", Text),
    _required("state", Word(OrderState)),
    Column("overlap", Span),
    Column("slot", Text),
    _required("targets", Numbers),
    Column("from_version", BigInteger),
    Column("from_slot", Text),
    Column("to_version", BigInteger),
    Column("to_slot", Text),
    Column("until", Moment),
    Column("promoted_at", Moment),
    Column("finished_at", Moment),
    Column("error", Text),
    Index("ix_orders_name_state", "name", "state"),
)

# Apart from credentials, so that taking a lease doesn't touch a record's revision, and so that
# the fence goes on counting when a name is forgotten and comes back.
LEASES = Table(
    "leases",
    METADATA,
    _required("name", Text, primary_key=True),
    _required("owner", Text),
    _required("home", Text),
    _required("fence", BigInteger),
    _required("lease_until", Moment),
    _required("released", Boolean),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", Integer, primary_key=True),
    _required("at", Moment),
    _required("name", Text),
    _required("kind", Text),
    _required("by", Text),
    Column("version", BigInteger),
    Column("slot", Text),
    _required("reason", Text),
    _required("detail", Text),
    Column("took", Span),
    _required("hash", Text),  # over the one before and all other columns: keyman.db.audit
    Index("ix_events_name_seq", "name", "seq"),
)

# One row: the last of `events`, how many there are, and the last that was forgotten.
CHAIN = Table(
    "chain",
    METADATA,
    _required("id", Integer, primary_key=True),
    _required("seq", Integer),
    _required("hash", Text),
    _required("count", Integer),
    _required("anchor_seq", Integer),
    _required("anchor_hash", Text),
)

# Those who listen go on after the last number that they saw, so none is ever given out twice.
NEWS = Table(
    "news",
    METADATA,
    Column("seq", Integer, primary_key=True),
    _required("at", Moment),
    _required("name", Text),
    _required("what", Text),
    Column("version", BigInteger),
    Column("slot", Text),
    _required("reason", Text),
    sqlite_autoincrement=True,
)

CLIENTS = Table(
    "clients",
    METADATA,
    _required("name", Text, primary_key=True),
    _required("digest", Text, unique=True),
    _required("grants", Text),  # with spaces between
    _required("created_at", Moment),
    Column("used_at", Moment),
    Column("revoked_at", Moment),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    _required("key", Text, primary_key=True),
    _required("name", Text, primary_key=True),
    _required("order_id", Text),
    _required("at", Moment, index=True),
    Column("wish", Text),  # a digest; empty where the key was claimed before there was one
)
