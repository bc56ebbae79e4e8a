"""Which versions a backup brought back that nobody has proven to work since."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("versions", recreate="always") as versions:
        versions.add_column(sa.Column("restored_at", sa.BigInteger()))
