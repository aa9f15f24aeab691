"""Runs on the connection, and with the version table, that `ingestion.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from ingestion.catalog.tables import metadata

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=attributes["version_table"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
