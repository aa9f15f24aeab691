"""The values of the catalog: frozen rows, as callers see them. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

JSON = Mapping[str, Any]
T = TypeVar("T")

KnowledgeBaseStatus = Literal["active", "updating", "deleting"]
DocumentStatus = Literal["queued", "processing", "completed", "failed"]
JobStatus = Literal["queued", "processing", "completed", "failed", "cancelled"]
ChunkingType = Literal["recursive", "fixed_size", "sentence", "semantic", "hierarchical"]


@dataclass(frozen=True, slots=True)
class Page:
    """Cursor pagination as OpenAI does it: ids, exclusive; newest first unless order is "asc"."""

    limit: int = 20
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    items: tuple[T, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document or a job failed: a code of API.md and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ChunkingStrategy:
    """Sizes in the embedding model's own tokens."""

    type: ChunkingType = "recursive"
    chunk_size: int = 512
    chunk_overlap: int = 64
    parent_chunk_size: int | None = None

    @staticmethod
    def usual_overlap(chunk_size: int) -> int:
        """The overlap where none is named: 64 tokens, and never more than half of a chunk."""
        return min(64, chunk_size // 2)


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    id: str
    tenant_id: str
    name: str
    description: str
    embedding_model: str
    chunking_strategy: ChunkingStrategy
    metadata: JSON
    defaults: JSON
    status: KnowledgeBaseStatus
    document_count: int
    chunk_count: int
    size_bytes: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class DataSource:
    id: str
    tenant_id: str
    knowledge_base_id: str
    type: str
    name: str
    config: JSON
    metadata: JSON
    status: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    tenant_id: str
    knowledge_base_id: str
    data_source_id: str
    file_id: str | None
    name: str
    source_type: str
    status: DocumentStatus
    error: Problem | None
    content_type: str
    size_bytes: int
    sha256: str
    version: int
    page_count: int | None
    chunk_count: int
    metadata: JSON
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Job:
    """One run over a data source. The counts are derived from its items, never kept beside them."""

    id: str
    tenant_id: str
    knowledge_base_id: str
    data_source_id: str
    status: JobStatus
    documents_total: int
    documents_processed: int
    documents_failed: int
    documents_unchanged: int
    chunks_created: int
    error: Problem | None
    created_at: int
    started_at: int | None
    completed_at: int | None


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that are to become a document: already in the blob store under `blob_key`."""

    name: str
    blob_key: str
    sha256: str
    size_bytes: int
    content_type: str
    file_id: str | None = None
    metadata: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a deletion removed, counted while removing it."""

    documents: int
    chunks: int
    vectors: int
    blobs: int
