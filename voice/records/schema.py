"""The tables, as the program uses them; the migrations make them. All times are seconds since the epoch, UTC.

No foreign keys: what belongs to a call is written only while the call is there, and deleted with it.
"""

from sqlalchemy import JSON, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

metadata = MetaData()

# Not JSONB: the order of keys is kept, and a checkpoint comes back as it was written.
_JSON = JSON(none_as_null=True)

calls = Table(
    "calls",
    metadata,
    Column("call_sid", Text, primary_key=True),
    Column("direction", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("called", Text, nullable=False),
    Column("parameters", _JSON, nullable=False),
    Column("answered_by", Text),
    Column("started_at", Double, nullable=False),
    # NULL: live, or its worker died and nobody carried it on.
    Column("ended_at", Double),
    # When a worker took it in hand after its end.
    Column("finished_at", Double),
    Column("result", Text),
    Column("reason", Text),
    Column("summary", Text),
    Column("fields", _JSON),
    Column("usage", _JSON),
    Column("cost_usd", Double),
    Column("cost", _JSON),
    Column("checkpoint", _JSON),
    Column("resumes", Integer, nullable=False),
    # Grows with each claim: what a former owner still writes carries a smaller one and is ignored.
    Column("fence", Integer, nullable=False),
    # The worker that holds the call, or held it last.
    Column("owner", Text),
    # Of the stream that it is on, or was on last.
    Column("stream_name", Text),
    Index("calls_started_at", "started_at"),
    Index("calls_agent", "agent", "started_at"),
    Index("calls_caller", "caller", "started_at"),
    Index("calls_ended_at", "ended_at"),
    Index("calls_finished_at", "finished_at", "ended_at"),
)

turns = Table(
    "turns",
    metadata,
    Column("call_sid", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("caller", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("cut", Boolean, nullable=False),
    Column("times", _JSON, nullable=False),
    Column("at", Double, nullable=False),
    Index("turns_at", "at"),
)

events = Table(
    "events",
    metadata,
    # Made by the writer, so that writing again after a doubtful commit doubles nothing; grows within a worker.
    Column("id", Text, primary_key=True),
    Column("call_sid", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", _JSON, nullable=False),
    Index("events_call_sid", "call_sid", "at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("call_sid", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Who takes it in hand moves this on: nobody else does before. NULL: delivered or given up.
    Column("next_at", Double),
    Column("delivered_at", Double),
    Column("last_error", Text),
    Index("outbox_next_at", "next_at"),
    Index("outbox_call_sid", "call_sid"),
)

# The live calls of each worker, as JSON that only the console reads.
presence = Table(
    "presence",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("state", Text, nullable=False),
)

outbound = Table(
    "outbound",
    metadata,
    Column("id", Text, primary_key=True),
    # NULL until Twilio has taken the call.
    Column("call_sid", Text),
    Column("to", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("parameters", _JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("outbound_created_at", "created_at"),
    Index("outbound_call_sid", "call_sid"),
)

# What a worker has to itself for a while: that it lives, a call that it finishes.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", Double, nullable=False),
)

# Single-use tokens and the like, by name.
spent = Table(
    "spent",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Index("spent_at", "at"),
)
