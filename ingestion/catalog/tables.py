"""The tables. The migration in `ingestion/migrations` makes the same; a test compares the two."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id(name: str = "id", *, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return Column(name, String(64), primary_key=primary_key, nullable=nullable)


def _tenant() -> Column[str]:
    return Column("tenant_id", String(128), nullable=False)


def _kb() -> Column[str]:
    return Column("knowledge_base_id", String(64), ForeignKey("knowledge_bases.id"), nullable=False)


def _where(condition: str) -> dict[str, Any]:
    """A partial index, in the words of both dialects."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


knowledge_bases = Table(
    "knowledge_bases",
    metadata,
    _id(primary_key=True),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("embedding_model", Text, nullable=False),
    Column("chunking", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("defaults", JSON, nullable=False),
    Column("deleting_since", Float),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_knowledge_bases_tenant", "tenant_id", "id"),
)

data_sources = Table(
    "data_sources",
    metadata,
    _id(primary_key=True),
    _tenant(),
    _kb(),
    Column("type", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("deleting_since", Float),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_data_sources_kb", "knowledge_base_id", "id"),
)

# `version` is the one that can be searched (0: none yet), `last_version` the newest one that was taken in, and
# `reserved_version` the highest number given out, also to submissions that came to nothing.
documents = Table(
    "documents",
    metadata,
    _id(primary_key=True),
    _tenant(),
    _kb(),
    Column("data_source_id", String(64), ForeignKey("data_sources.id"), nullable=False),
    Column("file_id", Text),
    Column("name", Text, nullable=False),
    Column("source_type", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("content_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("reserved_version", Integer, nullable=False),
    Column("page_count", Integer),
    Column("chunk_count", Integer, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("deleting_since", Float),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_documents_kb", "knowledge_base_id", "id"),
    Index("ix_documents_sha256", "knowledge_base_id", "sha256"),
    Index("ix_documents_source", "data_source_id", "name"),
    Index("ix_documents_deleting", "deleting_since", **_where("deleting_since IS NOT NULL")),
)

jobs = Table(
    "jobs",
    metadata,
    _id(primary_key=True),
    _tenant(),
    _kb(),
    Column("data_source_id", String(64), ForeignKey("data_sources.id"), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("dispatched_at", Float, nullable=False),
    Index("ix_jobs_kb", "knowledge_base_id", "id"),
    Index("ix_jobs_source", "data_source_id", "id"),
    Index("ix_jobs_status", "status"),
)

# One document of one job. `target` is what the document becomes when the item completes; `storing` is set
# before the first vector is written and never taken back; `aftercare` is what remains to be done after the
# end: "undo" (vectors of a version that will not be) or "tidy" (blobs of the version before).
items = Table(
    "job_items",
    metadata,
    _id(primary_key=True),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False),
    _tenant(),
    _kb(),
    Column("document_id", String(64), ForeignKey("documents.id")),
    Column("status", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("target", JSON, nullable=False),
    Column("lease_owner", Text),
    Column("lease_until", Float),
    Column("not_before", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("storing", Boolean, nullable=False),
    Column("aftercare", String(8)),
    Column("chunks_planned", Integer, nullable=False),
    Column("chunks_embedded", Integer, nullable=False),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Index("ix_job_items_job", "job_id", "status"),
    Index("ix_job_items_document", "document_id", "id"),
    Index("ix_job_items_status", "status"),
    Index("ix_job_items_aftercare", "aftercare", **_where("aftercare IS NOT NULL")),
)

chunks = Table(
    "chunks",
    metadata,
    Column("document_id", String(64), ForeignKey("documents.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    _tenant(),
    _kb(),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    Index("ix_chunks_kb", "knowledge_base_id"),
)
