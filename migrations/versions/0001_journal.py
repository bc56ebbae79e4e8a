"""The first schema. Every time and every span is a count of microseconds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credentials",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("home", sa.Text()),
        sa.Column("silence", sa.Text()),
        sa.Column("driver", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("claimed", sa.BigInteger(), nullable=False),
        sa.Column("fenced", sa.Boolean(), nullable=False),
        sa.Column("unanswered_at", sa.BigInteger()),
        sa.Column("doubt_at", sa.BigInteger()),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failed_step", sa.Text()),
        sa.Column("retry_at", sa.BigInteger()),
        sa.Column("last_error", sa.Text()),
        sa.Column("last_hint", sa.Text()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_credentials"),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger()),
        sa.Column("slot", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
    )
    op.create_index("ix_events_name_seq", "events", ["name", "seq"])

    op.create_table(
        "idempotency",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "name", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])

    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "orders",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("overlap", sa.BigInteger()),
        sa.Column("slot", sa.Text()),
        sa.Column("targets", sa.Text(), nullable=False),
        sa.Column("from_version", sa.BigInteger()),
        sa.Column("from_slot", sa.Text()),
        sa.Column("to_version", sa.BigInteger()),
        sa.Column("to_slot", sa.Text()),
        sa.Column("until", sa.BigInteger()),
        sa.Column("promoted_at", sa.BigInteger()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("seq", name="pk_orders"),
        sa.UniqueConstraint("id", name="uq_orders_id"),
    )
    op.create_index("ix_orders_name_state", "orders", ["name", "state"])

    op.create_table(
        "versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("slot", sa.Text()),
        sa.Column("handle", sa.Text()),
        sa.Column("carries", sa.BigInteger()),
        sa.Column("mask", sa.Text()),
        sa.Column("mask_before", sa.Text()),
        sa.Column("expires_before", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("issued_at", sa.BigInteger()),
        sa.Column("activated_at", sa.BigInteger()),
        sa.Column("probe_from", sa.BigInteger()),
        sa.Column("probed_at", sa.BigInteger()),
        sa.Column("successes", sa.BigInteger(), nullable=False),
        sa.Column("refusals", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger()),
        sa.Column("promoted_at", sa.BigInteger()),
        sa.Column("replaced_at", sa.BigInteger()),
        sa.Column("overlap", sa.BigInteger()),
        sa.Column("retired_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("reported_at", sa.BigInteger()),
        sa.Column("examined_at", sa.BigInteger()),
        sa.Column("dead_at", sa.BigInteger()),
        sa.Column("compromised_at", sa.BigInteger()),
        sa.Column("revoke_first", sa.Boolean(), nullable=False),
        sa.Column("given_up", sa.Text()),
        sa.Column("slot_refused", sa.Boolean(), nullable=False),
        sa.Column("stored", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["name"], ["credentials.name"], name="fk_versions_name", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", "number", name="pk_versions"),
    )
