"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("call_sid", sa.Text, primary_key=True),
        sa.Column("direction", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("called", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("answered_by", sa.Text),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("result", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("summary", sa.Text),
        sa.Column("fields", sa.JSON),
        sa.Column("usage", sa.JSON),
        sa.Column("cost_usd", sa.Double),
        sa.Column("cost", sa.JSON),
        sa.Column("checkpoint", sa.JSON),
        sa.Column("resumes", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
    )
    op.create_index("calls_started_at", "calls", ["started_at"])
    op.create_index("calls_agent", "calls", ["agent", "started_at"])
    op.create_index("calls_caller", "calls", ["caller", "started_at"])
    op.create_index("calls_ended_at", "calls", ["ended_at"])
    op.create_index("calls_finished_at", "calls", ["finished_at", "ended_at"])
    op.create_table(
        "turns",
        sa.Column("call_sid", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("cut", sa.Boolean, nullable=False),
        sa.Column("times", sa.JSON, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("call_sid", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("events_call_sid", "events", ["call_sid", "at"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("call_sid", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("delivered_at", sa.Double),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("outbox_next_at", "outbox", ["next_at"])
    op.create_index("outbox_call_sid", "outbox", ["call_sid"])
    op.create_table(
        "outbound",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("call_sid", sa.Text),
        sa.Column("to", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("outbound_created_at", "outbound", ["created_at"])
    op.create_index("outbound_call_sid", "outbound", ["call_sid"])
