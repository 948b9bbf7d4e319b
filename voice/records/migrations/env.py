"""Run by Alembic for each command. The connection comes from voice/records/migrate.py, in a transaction."""

from alembic import context

from voice.records.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
with context.begin_transaction():
    context.run_migrations()
