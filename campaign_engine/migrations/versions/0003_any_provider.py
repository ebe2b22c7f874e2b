"""The program says which providers there are, not the table of accounts."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Drop the list of providers; the rows stay as they are."""
    op.drop_constraint(op.f("ck_accounts_provider"), "accounts")


def downgrade() -> None:
    """Refuse: see the reason."""
    raise RuntimeError("An account may have a provider that the constraint did not know; restore a backup instead.")
