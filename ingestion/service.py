"""What the gateway may ask of ingestion: knowledge bases, sources, jobs and documents of one tenant.

Every method takes the tenant; what belongs to another tenant is NotFound, exactly like what does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from ingestion import checks
from ingestion.blobs import Blobs, document_prefix, text_key
from ingestion.catalog import documents, jobs, knowledge_bases, sources
from ingestion.catalog.rows import OPEN
from ingestion.database import Database
from ingestion.dispatch import Dispatch
from ingestion.intake import Intake, Submission
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
from ingestion.removal import Removal
from rag.errors import InvalidRequest, NotFound
from rag.ports import VectorStore
from rag.qdrant import point_id
from rag.types import DocumentRef, Passage, Scope

_POLL_SECONDS = 0.3


class Ingestion:
    """Facade over catalog, blobs, vector store and dispatch.

    `models`: name of each embedding model that a knowledge base may use → content tokens that it reads; the
    first one is the default. All methods raise Unavailable while the database, and those that touch vectors
    while the vector store, is away.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        store: VectorStore,
        dispatcher: Dispatch,
        models: Mapping[str, int],
    ) -> None:
        if not models:
            raise ValueError("name at least one embedding model")
        self._database = database
        self._blobs = blobs
        self._store = store
        self._models = dict(models)
        self._intake = Intake(database, blobs, dispatcher)
        self._removal = Removal(database, blobs, store)

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
        """chunking None: recursive 512/64, lowered to what the embedding model reads. A size named by the
        caller that is larger than the model reads, an overlap >= size, an unknown model: InvalidRequest
        naming the field."""
        model = checks.embedding_model(embedding_model, self._models)
        strategy = checks.chunking(chunking, self._models[model])
        values = {
            "name": checks.name(name),
            "description": checks.text(description, "description", most=4096),
            "embedding_model": model,
            "chunking": strategy,
            "metadata": checks.json_object(metadata or {}, "metadata"),
        }
        document_prefix(tenant, "kb")  # refuses a tenant under whose name nothing can be stored
        async with self._database.begin() as connection:
            kb_id = await knowledge_bases.create(connection, tenant, values)
            return await knowledge_bases.get(connection, tenant, kb_id)

    async def knowledge_base(self, tenant: str, kb_id: str) -> KnowledgeBase:
        async with self._database.connect() as connection:
            return await knowledge_bases.get(connection, tenant, kb_id)

    async def knowledge_bases(self, tenant: str, page: Page) -> Listing[KnowledgeBase]:
        async with self._database.connect() as connection:
            return await knowledge_bases.find(connection, tenant, page)

    async def update_knowledge_base(self, tenant: str, kb_id: str, changes: JSON) -> KnowledgeBase:
        """changes: any of name, description, metadata, defaults; anything else is InvalidRequest."""
        checked = checks.knowledge_base_changes(changes)
        async with self._database.begin() as connection:
            await knowledge_bases.change(connection, tenant, kb_id, checked)
            return await knowledge_bases.get(connection, tenant, kb_id)

    async def delete_knowledge_base(self, tenant: str, kb_id: str) -> Receipt:
        """Everything below goes; running jobs are cancelled. Hidden work that cannot be finished now (a
        worker that does not let go, a crash) is finished by the sweeper."""
        return await self._removal.delete_knowledge_base(tenant, kb_id)

    # data sources and jobs -----------------------------------------------------------------------
    async def add_uploads(
        self, tenant: str, kb_id: str, name: str, uploads: Sequence[Upload], *, metadata: JSON | None = None
    ) -> tuple[DataSource, Job]:
        """A file_upload source: source, document and job rows in one commit, dispatched after it. Bytes
        that the knowledge base has already are `unchanged`: no second document, no second embedding."""
        submission = Submission(
            tenant,
            kb_id,
            [checks.upload(upload) for upload in checks.some_uploads(uploads)],
            name=checks.name(name),
            config={"file_ids": [upload.file_id for upload in uploads if upload.file_id]},
            metadata=checks.json_object(metadata or {}, "metadata"),
        )
        return await self._intake.submit(submission)

    async def data_source(self, tenant: str, kb_id: str, ds_id: str) -> DataSource:
        async with self._database.connect() as connection:
            return await sources.get(connection, tenant, kb_id, ds_id)

    async def data_sources(self, tenant: str, kb_id: str, page: Page) -> Listing[DataSource]:
        async with self._database.connect() as connection:
            await knowledge_bases.exists_for(connection, tenant, kb_id)
            return await sources.find(connection, tenant, kb_id, page)

    async def sync_data_source(self, tenant: str, kb_id: str, ds_id: str) -> Job:
        """file_upload: uploaded bytes cannot change, so completed documents are `unchanged` and failed
        ones are tried again."""
        return await self._intake.repeat(tenant, kb_id, ds_id)

    async def delete_data_source(self, tenant: str, kb_id: str, ds_id: str) -> Receipt:
        """With its documents, but for those that another source has brought too."""
        return await self._removal.delete_data_source(tenant, kb_id, ds_id)

    async def job(self, tenant: str, kb_id: str, job_id: str) -> Job:
        async with self._database.connect() as connection:
            return await jobs.get(connection, tenant, kb_id, job_id)

    async def jobs(self, tenant: str, kb_id: str, page: Page, *, status: str | None = None) -> Listing[Job]:
        checks.one_of(status, "status", checks.JOB_STATUSES)
        async with self._database.connect() as connection:
            await knowledge_bases.exists_for(connection, tenant, kb_id)
            return await jobs.find(connection, tenant, kb_id, page, status=status)

    async def cancel_job(self, tenant: str, kb_id: str, job_id: str) -> Job:
        """Ends the job now; what a worker is just writing is undone. A job that has ended stays as it is."""
        async with self._database.begin() as connection:
            await jobs.cancel(connection, tenant, kb_id, job_id)
            return await jobs.get(connection, tenant, kb_id, job_id)

    async def job_events(self, tenant: str, kb_id: str, job_id: str) -> AsyncIterator[Job]:
        """The job now, then each time it changes, until it ends. Raises NotFound also when it is deleted
        while being watched."""
        seen: Job | None = None
        while True:
            job = await self.job(tenant, kb_id, job_id)
            if job != seen:
                yield job
            seen = job
            if job.status not in OPEN:
                return
            await asyncio.sleep(_POLL_SECONDS)

    # documents -----------------------------------------------------------------------------------
    async def document(self, tenant: str, kb_id: str, doc_id: str) -> Document:
        async with self._database.connect() as connection:
            return await documents.get(connection, tenant, kb_id, doc_id)

    async def documents(
        self,
        tenant: str,
        kb_id: str,
        page: Page,
        *,
        status: str | None = None,
        data_source_id: str | None = None,
        name: str | None = None,
    ) -> Listing[Document]:
        checks.one_of(status, "status", checks.DOCUMENT_STATUSES)
        async with self._database.connect() as connection:
            await knowledge_bases.exists_for(connection, tenant, kb_id)
            return await documents.find(
                connection, tenant, kb_id, page, status=status, data_source_id=data_source_id, name=name
            )

    async def update_document(self, tenant: str, kb_id: str, doc_id: str, metadata: JSON) -> Document:
        """Replaces the metadata. Rows first: a document that completes meanwhile sees the change and is
        stored again; one that has completed gets it here."""
        checked = checks.json_object(metadata, "metadata")
        async with self._database.begin() as connection:
            await documents.set_metadata(connection, tenant, kb_id, doc_id, checked)
            document = await documents.get(connection, tenant, kb_id, doc_id)
        await self._store.set_metadata(Scope(tenant, (kb_id,)), doc_id, checked)
        return document

    async def delete_document(self, tenant: str, kb_id: str, doc_id: str) -> Receipt:
        return await self._removal.delete_document(tenant, kb_id, doc_id)

    async def document_text(self, tenant: str, kb_id: str, doc_id: str) -> str:
        """The canonical text. NotFound (`document_not_ready`) before the first version is completed."""
        for _ in range(3):
            document = await self.document(tenant, kb_id, doc_id)
            if document.version == 0:
                break
            key = text_key(document_prefix(tenant, kb_id, doc_id), document.version)
            try:
                return (await self._blobs.read(key)).decode()
            except NotFound:  # a newer version has replaced this one between the two reads
                continue
        raise NotFound(
            f"the document {doc_id} has no text yet; wait until its status is completed",
            code="document_not_ready",
        )

    async def document_chunks(self, tenant: str, kb_id: str, doc_id: str, page: Page) -> Listing[Passage]:
        """In reading order (`order="asc"`) or from the end; `after` and `before` are ids of chunks."""
        document = await self.document(tenant, kb_id, doc_id)
        if document.version == 0:
            return Listing((), has_more=False)
        low, high, more = await asyncio.to_thread(_window, document, page)
        if low >= high:
            return Listing((), has_more=False)
        found = await self._store.chunks(
            Scope(tenant, (kb_id,)), doc_id, limit=high - low, after=low - 1 if low else None
        )
        inside = tuple(passage for passage in found if low <= passage.n < high)
        return Listing(inside if page.order == "asc" else inside[::-1], has_more=more)


def _window(document: Document, page: Page) -> tuple[int, int, bool]:
    """The numbers [low, high) of the chunks of a page, and whether more follow in its direction."""
    if not 1 <= page.limit <= 100:
        raise InvalidRequest("'limit' must be between 1 and 100", param="limit")
    after = _number(document, page.after, "after")
    before = _number(document, page.before, "before")
    up = page.order == "asc"
    first, last = (after, before) if up else (before, after)
    low = 0 if first is None else first + 1
    high = document.chunk_count if last is None else last
    backwards = page.before is not None and page.after is None
    more = high - low > page.limit
    if up != backwards:
        return low, min(high, low + page.limit), more
    return max(low, high - page.limit), high, more


def _number(document: Document, chunk_id: str | None, param: str) -> int | None:
    if chunk_id is None:
        return None
    reference = DocumentRef(
        document.tenant_id, document.knowledge_base_id, document.id, document.version, document.name
    )
    wanted = chunk_id.removeprefix("chunk_")
    for n in range(document.chunk_count):
        if point_id(reference, n).replace("-", "") == wanted:
            return n
    raise InvalidRequest(f"'{param}' must be the id of a chunk of this document", param=param)
