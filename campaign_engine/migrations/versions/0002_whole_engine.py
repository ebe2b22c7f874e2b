"""What the whole engine needs: notifications, the audit log, replies, rotation, recurrence, probation."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the new tables and columns; existing rows stay valid."""
    op.create_table(
        "notifications",
        sa.Column("company_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=True),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name=op.f("ck_notifications_severity")),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_notifications_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index("ix_notifications_company", "notifications", ["company_id", "id"], unique=False)
    op.create_index(
        "ix_notifications_unread",
        "notifications",
        ["company_id", "id"],
        unique=False,
        postgresql_where=sa.text("read_at IS NULL"),
    )
    op.create_index("ix_notifications_subject", "notifications", ["company_id", "kind", "subject_id"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("company_id", sa.BigInteger(), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("details", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["users.id"], name=op.f("fk_audit_log_actor_id_users"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_audit_log_company_id_companies")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_company", "audit_log", ["company_id", "id"], unique=False)
    op.create_table(
        "replies",
        sa.Column("company_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("provider_message_id", sa.String(), nullable=False),
        sa.Column("phone_key", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("payload", sa.String(), nullable=True),
        sa.Column("intent", sa.String(), server_default="none", nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decision", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("confirm_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("decision IN ('opted_out', 'dismissed')", name=op.f("ck_replies_decision")),
        sa.CheckConstraint("intent IN ('certain', 'likely', 'resume', 'none')", name=op.f("ck_replies_intent")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_replies_account_id_accounts")),
        sa.ForeignKeyConstraint(
            ["campaign_id"], ["campaigns.id"], name=op.f("fk_replies_campaign_id_campaigns"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name=op.f("fk_replies_company_id_companies")),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_replies_contact_id_contacts"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["users.id"], name=op.f("fk_replies_decided_by_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
    )
    op.create_index("ix_replies_campaign", "replies", ["campaign_id", "id"], unique=False)
    op.create_index("ix_replies_company", "replies", ["company_id", "id"], unique=False)
    op.create_index("ix_replies_person", "replies", ["company_id", "phone_key", "id"], unique=False)
    op.create_index(op.f("ix_replies_contact_id"), "replies", ["contact_id"], unique=False)
    op.create_index(
        "ix_replies_undecided",
        "replies",
        ["company_id", "id"],
        unique=False,
        postgresql_where=sa.text("intent = 'likely' AND decision IS NULL"),
    )
    op.create_index(
        "ix_replies_unconfirmed",
        "replies",
        ["confirm_until", "account_id"],
        unique=False,
        postgresql_where=sa.text("confirm_until IS NOT NULL"),
    )
    op.create_index("uq_replies_provider_message_id", "replies", ["account_id", "provider_message_id"], unique=True)
    op.add_column("accounts", sa.Column("on_probation", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("accounts", sa.Column("unacknowledged_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("accounts", sa.Column("warning", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("accounts", sa.Column("webhook_key", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("provider_recipient_limit", sa.BigInteger(), nullable=True))
    op.add_column("accounts", sa.Column("business_account_id", sa.String(), nullable=True))
    op.add_column("accounts", sa.Column("health_claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(op.f("uq_accounts_webhook_key"), "accounts", ["webhook_key"])
    op.add_column("campaign_accounts", sa.Column("weight", sa.BigInteger(), nullable=True))
    op.add_column("campaigns", sa.Column("kind", sa.String(), server_default="campaign", nullable=False))
    op.add_column("campaigns", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.add_column("campaigns", sa.Column("status_code", sa.String(), nullable=True))
    op.add_column("campaigns", sa.Column("sticky", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("campaigns", sa.Column("frequency_cap", sa.String(), nullable=True))
    op.add_column("campaigns", sa.Column("recurrence", postgresql.JSONB(), nullable=True))
    op.add_column("campaigns", sa.Column("occurrence", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("campaigns", sa.Column("start_late_s", sa.Double(), nullable=True))
    op.add_column("campaigns", sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_campaigns_kind"), "campaigns", "kind IN ('campaign', 'test')")
    op.create_index(op.f("ix_campaigns_parent_id"), "campaigns", ["parent_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_campaigns_parent_id_campaigns"), "campaigns", "campaigns", ["parent_id"], ["id"], ondelete="SET NULL"
    )
    op.add_column("messages", sa.Column("planned_account_id", sa.BigInteger(), nullable=True))
    op.drop_index(
        op.f("ix_messages_fresh"),
        table_name="messages",
        postgresql_where="(((status)::text = 'pending'::text) AND (next_attempt_at IS NULL))",
    )
    op.drop_index("ix_messages_retry", table_name="messages")
    for name, attempts in (("ix_messages_first_line", "attempts < 3"), ("ix_messages_second_line", "attempts >= 3")):
        op.create_index(
            name,
            "messages",
            ["campaign_id", "next_attempt_at"],
            unique=False,
            postgresql_where=sa.text(f"status = 'pending' AND next_attempt_at IS NOT NULL AND {attempts}"),
        )
    op.create_index(
        "ix_messages_fresh",
        "messages",
        ["campaign_id", "planned_account_id", "position"],
        unique=False,
        postgresql_where=sa.text("status = 'pending' AND next_attempt_at IS NULL"),
    )
    op.add_column("opt_outs", sa.Column("kind", sa.String(), server_default="opted_out", nullable=False))
    op.add_column("opt_outs", sa.Column("note", sa.String(), nullable=True))
    op.add_column("opt_outs", sa.Column("campaign_id", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_opt_outs_kind"), "opt_outs", "kind IN ('opted_out', 'blocked', 'held')")
    op.create_foreign_key(
        op.f("fk_opt_outs_campaign_id_campaigns"), "opt_outs", "campaigns", ["campaign_id"], ["id"], ondelete="SET NULL"
    )
    op.create_index(
        "ix_contacts_wa_id",
        "contacts",
        ["company_id", "wa_id"],
        unique=False,
        postgresql_where=sa.text("wa_id IS NOT NULL"),
    )
    op.add_column("templates", sa.Column("quality", sa.String(), nullable=True))
    op.add_column("webhook_events", sa.Column("apply_after", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Refuse: what was stored since would be lost."""
    raise RuntimeError("What was stored since would be lost; restore a backup instead.")
