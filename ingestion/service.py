"""What the gateway may ask of ingestion: knowledge bases, sources, jobs and documents of one tenant.

Every method takes the tenant; what belongs to another tenant is NotFound, exactly like what does not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ingestion.records import (
    JSON,
    ChunkingStrategy,
    DataSource,
    Document,
    Job,
    KnowledgeBase,
    Listing,
    Page,
    Receipt,
    Upload,
)
from rag.types import Passage


class Ingestion:
    """Facade over catalog, blobs, vector store and dispatch."""

    # knowledge bases -----------------------------------------------------------------------------
    async def create_knowledge_base(
        self,
        tenant: str,
        name: str,
        *,
        description: str = "",
        embedding_model: str | None = None,
        chunking: ChunkingStrategy | None = None,
        metadata: JSON | None = None,
    ) -> KnowledgeBase:
        """chunking None: recursive 512/64, lowered to what the embedding model reads. A size named by the caller
        that is larger than the model reads, an overlap >= size, an unknown model: InvalidRequest naming the field."""

    async def knowledge_base(self, tenant: str, kb_id: str) -> KnowledgeBase: ...
    async def knowledge_bases(self, tenant: str, page: Page) -> Listing[KnowledgeBase]: ...
    async def update_knowledge_base(self, tenant: str, kb_id: str, changes: JSON) -> KnowledgeBase:
        """changes: any of name, description, metadata, defaults."""

    async def delete_knowledge_base(self, tenant: str, kb_id: str) -> Receipt: ...

    # data sources and jobs -----------------------------------------------------------------------
    async def add_uploads(
        self, tenant: str, kb_id: str, name: str, uploads: Sequence[Upload], *, metadata: JSON | None = None
    ) -> tuple[DataSource, Job]:
        """A file_upload source: source, document and job rows in one commit, dispatched after it."""

    async def data_source(self, tenant: str, kb_id: str, ds_id: str) -> DataSource: ...
    async def data_sources(self, tenant: str, kb_id: str, page: Page) -> Listing[DataSource]: ...
    async def sync_data_source(self, tenant: str, kb_id: str, ds_id: str) -> Job: ...
    async def delete_data_source(self, tenant: str, kb_id: str, ds_id: str) -> Receipt: ...

    async def job(self, tenant: str, kb_id: str, job_id: str) -> Job: ...
    async def jobs(self, tenant: str, kb_id: str, page: Page, *, status: str | None = None) -> Listing[Job]: ...
    async def cancel_job(self, tenant: str, kb_id: str, job_id: str) -> Job: ...
    def job_events(self, tenant: str, kb_id: str, job_id: str) -> AsyncIterator[Job]:
        """The job now, then each time it changes, until it ends."""

    # documents -----------------------------------------------------------------------------------
    async def document(self, tenant: str, kb_id: str, doc_id: str) -> Document: ...
    async def documents(  # noqa: PLR0913 - one argument per filter of the route
        self,
        tenant: str,
        kb_id: str,
        page: Page,
        *,
        status: str | None = None,
        data_source_id: str | None = None,
        name: str | None = None,
    ) -> Listing[Document]: ...
    async def update_document(self, tenant: str, kb_id: str, doc_id: str, metadata: JSON) -> Document: ...
    async def delete_document(self, tenant: str, kb_id: str, doc_id: str) -> Receipt: ...
    async def document_text(self, tenant: str, kb_id: str, doc_id: str) -> str: ...
    async def document_chunks(
        self, tenant: str, kb_id: str, doc_id: str, page: Page
    ) -> Listing[Passage]: ...
