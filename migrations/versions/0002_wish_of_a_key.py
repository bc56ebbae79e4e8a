"""An Idempotency-Key is bound to the wish that it came with: a digest of it is kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("idempotency", recreate="always") as idempotency:
        idempotency.add_column(sa.Column("wish", sa.Text()))
