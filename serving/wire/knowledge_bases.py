"""Knowledge bases, data sources, ingestion jobs, documents and retrieval."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ingestion.records import (
    ChunkingStrategy,
    DataSource,
    Document,
    Job,
    KnowledgeBase,
    Problem,
    Receipt,
)
from rag.types import Passage, SearchResult
from serving.wire.common import Body, Deleted, Id, Line, Metadata, Name, Object, Query
from serving.wire.rag import Filters, RagSettings, SearchType

MAX_FILES = 1000
Description = Annotated[Line, StringConstraints(max_length=4096)]
JobStatus = Literal["queued", "processing", "completed", "failed", "cancelled"]
DocumentStatus = Literal["queued", "processing", "completed", "failed"]
ChunkingType = Literal["recursive", "fixed_size", "sentence", "semantic", "hierarchical"]
SOURCE_TYPES = ("file_upload", "web_crawl", "s3", "gcs", "confluence", "notion", "google_drive")
_SECRET_KEYS = frozenset({"credentials", "token", "api_key", "password", "secret"})


# knowledge bases ---------------------------------------------------------------------------------


class ChunkingRequest(Body):
    """Sizes in tokens of the embedding model."""

    type: ChunkingType = "recursive"
    chunk_size: int = Field(512, ge=1, le=1_000_000)
    chunk_overlap: int = Field(64, ge=0, le=1_000_000)
    parent_chunk_size: int | None = Field(None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _parents(self) -> Self:
        if self.parent_chunk_size is not None and self.type != "hierarchical":
            raise ValueError("parent_chunk_size is for type 'hierarchical' only")
        return self

    def strategy(self, reads: int) -> ChunkingStrategy:
        """`reads`: tokens that the embedding model takes. A size that the caller did not name is lowered to
        it; one that was named is left for the catalog to refuse. An empty request is the same as none."""
        size = self.chunk_size if "chunk_size" in self.model_fields_set else min(self.chunk_size, reads)
        named = "chunk_overlap" in self.model_fields_set
        overlap = self.chunk_overlap if named else ChunkingStrategy.usual_overlap(size)
        parent = self.parent_chunk_size
        if self.type == "hierarchical" and parent is None:
            parent = 2048
        return ChunkingStrategy(self.type, size, overlap, parent)


class CreateKnowledgeBase(Body):
    name: Name
    description: Description = ""
    embedding_model: Name | None = None
    chunking_strategy: ChunkingRequest | None = None
    metadata: Metadata = Field(default_factory=dict)


class UpdateKnowledgeBase(Body):
    """Only what is given is changed; null is not a value."""

    name: Name = ""
    description: Description = ""
    metadata: Metadata = Field(default_factory=dict)
    defaults: RagSettings = Field(default_factory=RagSettings, description="`rag` options of questions to this alone.")

    def changes(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return given | ({"defaults": self.defaults.plain()} if "defaults" in given else {})


class ChunkingObject(Object):
    type: ChunkingType
    chunk_size: int
    chunk_overlap: int
    parent_chunk_size: int | None = None


class KnowledgeBaseObject(Object):
    id: str
    object: Literal["knowledge_base"] = "knowledge_base"
    name: str
    description: str
    embedding_model: str
    chunking_strategy: ChunkingObject
    document_count: int
    chunk_count: int
    size_bytes: int
    status: Literal["active", "updating", "deleting"]
    created_at: int
    updated_at: int
    metadata: dict[str, Any]
    defaults: dict[str, Any]

    @classmethod
    def of(cls, kb: KnowledgeBase) -> Self:
        chunking = kb.chunking_strategy
        return cls(
            id=kb.id,
            name=kb.name,
            description=kb.description,
            embedding_model=kb.embedding_model,
            chunking_strategy=ChunkingObject(
                type=chunking.type,
                chunk_size=chunking.chunk_size,
                chunk_overlap=chunking.chunk_overlap,
                parent_chunk_size=chunking.parent_chunk_size,
            ),
            document_count=kb.document_count,
            chunk_count=kb.chunk_count,
            size_bytes=kb.size_bytes,
            status=kb.status,
            created_at=kb.created_at,
            updated_at=kb.updated_at,
            metadata=dict(kb.metadata),
            defaults=dict(kb.defaults),
        )


class ReceiptObject(Object):
    """What a deletion removed."""

    documents: int
    chunks: int
    vectors: int
    blobs: int


class Removed(Deleted):
    """Answer to a DELETE that took content along."""

    receipt: ReceiptObject

    @classmethod
    def of(cls, object_id: str, kind: str, receipt: Receipt) -> Self:
        counts = ReceiptObject(
            documents=receipt.documents,
            chunks=receipt.chunks,
            vectors=receipt.vectors,
            blobs=receipt.blobs,
        )
        return cls(id=object_id, object=kind, receipt=counts)


# jobs and documents ------------------------------------------------------------------------------


class ProblemObject(Object):
    code: str
    message: str

    @classmethod
    def of(cls, problem: Problem | None) -> Self | None:
        return cls(code=problem.code, message=problem.message) if problem else None


class JobObject(Object):
    id: str
    object: Literal["ingestion_job"] = "ingestion_job"
    knowledge_base_id: str
    data_source_id: str
    status: JobStatus
    documents_total: int
    documents_processed: int
    documents_failed: int
    documents_unchanged: int
    chunks_created: int
    created_at: int
    started_at: int | None
    completed_at: int | None
    error: ProblemObject | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            knowledge_base_id=job.knowledge_base_id,
            data_source_id=job.data_source_id,
            status=job.status,
            documents_total=job.documents_total,
            documents_processed=job.documents_processed,
            documents_failed=job.documents_failed,
            documents_unchanged=job.documents_unchanged,
            chunks_created=job.chunks_created,
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.completed_at,
            error=ProblemObject.of(job.error),
        )


class DocumentObject(Object):
    id: str
    object: Literal["document"] = "document"
    knowledge_base_id: str
    name: str
    status: DocumentStatus
    error: ProblemObject | None
    page_count: int | None
    chunk_count: int
    content_type: str
    size_bytes: int
    sha256: str
    data_source_id: str
    file_id: str | None
    metadata: dict[str, Any]
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, document: Document) -> Self:
        return cls(
            id=document.id,
            knowledge_base_id=document.knowledge_base_id,
            name=document.name,
            status=document.status,
            error=ProblemObject.of(document.error),
            page_count=document.page_count,
            chunk_count=document.chunk_count,
            content_type=document.content_type,
            size_bytes=document.size_bytes,
            sha256=document.sha256,
            data_source_id=document.data_source_id,
            file_id=document.file_id,
            metadata=dict(document.metadata),
            created_at=document.created_at,
            updated_at=document.updated_at,
        )


class UpdateDocument(Body):
    metadata: Metadata


class ChunkObject(Object):
    id: str
    object: Literal["chunk"] = "chunk"
    text: str
    start: int
    end: int
    page: int | None
    headings: list[str]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, passage: Passage) -> Self:
        return cls(
            id=passage.chunk_id,
            text=passage.text,
            start=passage.start,
            end=passage.end,
            page=passage.page,
            headings=list(passage.headings),
            metadata=dict(passage.metadata),
        )


# data sources ------------------------------------------------------------------------------------


class CreateDataSource(Body):
    """`file_ids` may stand in `config` or beside `type`."""

    type: Name
    name: Name | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    file_ids: list[Id] | None = None
    metadata: Metadata = Field(default_factory=dict)


class UploadConfig(Body):
    file_ids: list[Id] = Field(min_length=1, max_length=MAX_FILES)


class DataSourceObject(Object):
    id: str
    object: Literal["data_source"] = "data_source"
    knowledge_base_id: str
    type: str
    name: str
    config: dict[str, Any]
    metadata: dict[str, Any]
    status: str
    created_at: int
    updated_at: int

    @classmethod
    def fields_of(cls, source: DataSource) -> dict[str, Any]:
        return {
            "id": source.id,
            "knowledge_base_id": source.knowledge_base_id,
            "type": source.type,
            "name": source.name,
            "config": {k: v for k, v in source.config.items() if k not in _SECRET_KEYS},
            "metadata": dict(source.metadata),
            "status": source.status,
            "created_at": source.created_at,
            "updated_at": source.updated_at,
        }

    @classmethod
    def of(cls, source: DataSource) -> Self:
        return cls(**cls.fields_of(source))


class CreatedDataSource(DataSourceObject):
    """A new data source, with the job that its creation started."""

    job_id: str
    ingestion_job: JobObject

    @classmethod
    def started(cls, source: DataSource, job: Job) -> Self:
        return cls(**cls.fields_of(source), job_id=job.id, ingestion_job=JobObject.of(job))


# retrieval ---------------------------------------------------------------------------------------


class RetrieveRequest(Body):
    query: Query
    top_k: int = Field(10, ge=1, le=100)
    search_type: SearchType = "hybrid"
    rerank: bool = False
    filters: Filters | None = None
    include_metadata: bool = True
    min_score: float = Field(0.0, ge=0, le=1)


class ResultObject(Object):
    chunk_id: str
    document_id: str
    knowledge_base_id: str
    source: str
    text: str
    score: float
    page: int | None
    start: int
    end: int
    metadata: dict[str, Any] | None = Field(description="null where include_metadata is false")


class RetrieveObject(Object):
    object: Literal["list"] = "list"
    results: list[ResultObject]
    query: str
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, query: str, found: SearchResult, *, with_metadata: bool) -> Self:
        results = [
            ResultObject(
                chunk_id=passage.chunk_id,
                document_id=passage.document_id,
                knowledge_base_id=passage.knowledge_base_id,
                source=passage.source,
                text=passage.text,
                score=passage.score,
                page=passage.page,
                start=passage.start,
                end=passage.end,
                metadata=dict(passage.metadata) if with_metadata else None,
            )
            for passage in found.passages
        ]
        return cls(results=results, query=query, timings_ms=dict(found.retrieval.timings_ms))
