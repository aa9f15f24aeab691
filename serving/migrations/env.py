"""Alembic's entry: runs on the connection, and in the transaction, of `ingestion.database.migrate`."""

from __future__ import annotations

from alembic import context

from serving.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
