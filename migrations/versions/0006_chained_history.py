"""Each entry of the history is sealed over the one before it, and says how long its step took.

Entries that are there already are sealed as they are found: for them the chain proves that nobody
changed them since this upgrade. They are numbered anew, without the gaps that pruning had left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NOTHING_BEFORE = "0" * 64
AT_ONCE = 5_000


def upgrade() -> None:
    sealed = op.create_table(
        "events_sealed",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger()),
        sa.Column("slot", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("took", sa.BigInteger()),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
    )
    chain = op.create_table(
        "chain",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("anchor_seq", sa.Integer(), nullable=False),
        sa.Column("anchor_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chain"),
    )
    connection = op.get_bind()
    seq, head = 0, NOTHING_BEFORE
    columns = [column.name for column in sealed.columns]
    for seq, row in enumerate(_rows(connection), 1):
        plain = [seq, *row[1:], None]  # nobody measured what took how long
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        head = hashlib.sha256(f"{head}{text}".encode()).hexdigest()
        values = dict(zip(columns, [*plain, head], strict=True))
        connection.execute(sa.insert(sealed), values)
    start = {"id": 1, "seq": seq, "hash": head, "count": seq}
    anchor = {"anchor_seq": 0, "anchor_hash": NOTHING_BEFORE}
    connection.execute(sa.insert(chain), start | anchor)
    op.drop_table("events")
    op.rename_table("events_sealed", "events")
    op.create_index("ix_events_name_seq", "events", ["name", "seq"])


def _rows(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    """Oldest first, a part at a time: there may be very many."""
    asked = sa.text(
        'SELECT seq, at, name, kind, "by", version, slot, reason, detail FROM events'
        " WHERE seq > :after ORDER BY seq LIMIT :many"
    )
    after = 0
    while page := connection.execute(asked, {"after": after, "many": AT_ONCE}).all():
        yield from page
        after = page[-1].seq
