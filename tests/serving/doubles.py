"""Stand-ins for what the gateway speaks to: a pipeline that follows a script, ingestion in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ingestion.ids import new_id
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
from ingestion.service import Ingestion
from rag.collect import collect
from rag.errors import NotFound
from rag.types import (
    Annotation,
    Answer,
    Citation,
    CitedSpan,
    Delta,
    Passage,
    Question,
    RagOptions,
    Retrieval,
    Scope,
    SearchResult,
    Usage,
)


@dataclass(frozen=True)
class Card:
    id: str
    kind: str = "chat"
    owned_by: str = "tests"
    created: int = 1_700_000_000
    context_length: int | None = 4096
    capabilities: tuple[str, ...] = ("chat",)
    description: str = ""


PASSAGE = Passage(
    chunk_id="chunk_1",
    document_id="doc_1",
    knowledge_base_id="kb_1",
    source="größe.pdf",
    text="The limit is 40 °C.",
    start=100,
    end=119,
    score=0.87,
    pages=((90, 7),),
    headings=("Limits",),
    file_id="file-1",
    metadata={"year": 2024},
)
REPORT = Retrieval("what is the limit", "hybrid", 40, "applied", {"embed": 1.0, "search": 2.0, "rerank": 3.0})
CITED = Citation(1, PASSAGE, (CitedSpan(0, 20, "exact", "The limit is 40 °C.", 100, 119, 7),))
USAGE = Usage(11, 3, {"prompt_tokens_details": {"cached_tokens": 0}})


def plain_script(choices: int = 1) -> list[Delta]:
    """An answer without knowledge bases."""
    deltas = [
        delta
        for n in range(choices)
        for delta in (
            Delta(choice=n, role="assistant"),
            Delta(choice=n, text="Hello"),
            Delta(choice=n, text=" world"),
            Delta(choice=n, finish_reason="stop"),
        )
    ]
    return [*deltas, Delta(usage=USAGE)]


def cited_script(choices: int = 1) -> list[Delta]:
    """An answer from a passage, annotated as sentences close."""
    deltas = [Delta(citations=(replace(CITED, spans=()),))]
    for n in range(choices):
        spans = tuple(replace(CITED.spans[0], choice=m) for m in range(choices))
        deltas += [
            Delta(choice=n, role="assistant"),
            Delta(choice=n, text="The limit is 40 °C. ", annotations=(Annotation(0, 20, 1),)),
            Delta(choice=n, text="[1]"),
            Delta(
                choice=n,
                finish_reason="stop",
                citations=(replace(CITED, spans=spans),) if n == choices - 1 else None,
                retrieval=REPORT if n == choices - 1 else None,
            ),
        ]
    return [*deltas, Delta(usage=USAGE)]


class ScriptedPipeline:
    """Says `script`; an exception in it is raised, an Event waited for. Records what it was asked."""

    def __init__(self) -> None:
        self.models: Mapping[str, Card] = {
            "small": Card("small"),
            "org/large": Card("org/large"),
            "hash-embedder": Card("hash-embedder", "embedding"),
        }
        self.script: list[Delta | BaseException | asyncio.Event] | None = None
        self.found: SearchResult | BaseException = SearchResult((PASSAGE,), REPORT)
        self.questions: list[Question] = []
        self.searches: list[tuple[str, Scope, RagOptions]] = []
        self.started = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, question: Question) -> AsyncGenerator[Delta, None]:
        self.questions.append(question)
        choices = int(question.params.get("n", 1))
        usual = cited_script(choices) if question.scope else plain_script(choices)
        self.started.set()
        try:
            for step in usual if self.script is None else self.script:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
        finally:
            self.closed.set()

    async def answer(self, question: Question) -> Answer:
        return await collect(self.stream(question))

    async def retrieve(self, query: str, scope: Scope, options: RagOptions) -> SearchResult:
        self.searches.append((query, scope, options))
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


@dataclass
class _Base:
    record: KnowledgeBase
    sources: dict[str, DataSource] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)


def _paged(items: Sequence, page: Page) -> Listing:
    rows = sorted(items, key=lambda one: one.id, reverse=page.order == "desc")
    ids = [one.id for one in rows]
    rows = rows[ids.index(page.after) + 1 :] if page.after in ids else rows
    return Listing(tuple(rows[: page.limit]), len(rows) > page.limit)


class MemoryIngestion(Ingestion):
    """The facade's promises over dictionaries; a job is done as soon as it is asked for."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, str], _Base] = {}
        self.text = "The limit is 40 °C. Grüße, 世界."

    def _base(self, tenant: str, kb_id: str) -> _Base:
        if (tenant, kb_id) not in self._bases:
            raise NotFound(f"No knowledge base {kb_id}", code="knowledge_base_not_found", param="kb_id")
        return self._bases[tenant, kb_id]

    @staticmethod
    def _pick(things: dict, thing_id: str, kind: str):
        if thing_id not in things:
            raise NotFound(f"No {kind} {thing_id}", code=f"{kind}_not_found")
        return things[thing_id]

    async def create_knowledge_base(
        self, tenant, name, *, description="", embedding_model=None, chunking=None, metadata=None
    ) -> KnowledgeBase:
        now = int(time.time())
        record = KnowledgeBase(
            id=new_id("kb"),
            tenant_id=tenant,
            name=name,
            description=description,
            embedding_model=embedding_model or "hash-embedder",
            chunking_strategy=chunking or ChunkingStrategy(),
            metadata=metadata or {},
            defaults={},
            status="active",
            document_count=0,
            chunk_count=0,
            size_bytes=0,
            created_at=now,
            updated_at=now,
        )
        self._bases[tenant, record.id] = _Base(record)
        return record

    async def knowledge_base(self, tenant: str, kb_id: str) -> KnowledgeBase:
        return self._base(tenant, kb_id).record

    async def knowledge_bases(self, tenant: str, page: Page) -> Listing[KnowledgeBase]:
        return _paged([base.record for (owner, _), base in self._bases.items() if owner == tenant], page)

    async def update_knowledge_base(self, tenant: str, kb_id: str, changes: JSON) -> KnowledgeBase:
        base = self._base(tenant, kb_id)
        base.record = replace(base.record, **changes)
        return base.record

    async def delete_knowledge_base(self, tenant: str, kb_id: str) -> Receipt:
        base = self._base(tenant, kb_id)
        del self._bases[tenant, kb_id]
        return Receipt(len(base.documents), 0, 0, 0)

    async def add_uploads(
        self, tenant: str, kb_id: str, name: str, uploads: Sequence[Upload], *, metadata=None
    ) -> tuple[DataSource, Job]:
        base, now = self._base(tenant, kb_id), int(time.time())
        config = {"file_ids": [one.file_id for one in uploads], "credentials": "s3cret"}
        source = DataSource(
            new_id("ds"), tenant, kb_id, "file_upload", name, config, metadata or {}, "active", now, now
        )
        job = Job(
            new_id("job"),
            tenant,
            kb_id,
            source.id,
            "completed",
            len(uploads),
            len(uploads),
            0,
            0,
            1,
            None,
            now,
            now,
            now,
        )
        base.sources[source.id], base.jobs[job.id] = source, job
        for one in uploads:
            made = Document(
                new_id("doc"),
                tenant,
                kb_id,
                source.id,
                one.file_id,
                one.name,
                "file_upload",
                "completed",
                None,
                one.content_type,
                one.size_bytes,
                one.sha256,
                1,
                1,
                1,
                one.metadata,
                now,
                now,
            )
            base.documents[made.id] = made
        return source, job

    async def data_source(self, tenant, kb_id, ds_id) -> DataSource:
        return self._pick(self._base(tenant, kb_id).sources, ds_id, "data_source")

    async def data_sources(self, tenant, kb_id, page) -> Listing[DataSource]:
        return _paged(list(self._base(tenant, kb_id).sources.values()), page)

    async def sync_data_source(self, tenant, kb_id, ds_id) -> Job:
        await self.data_source(tenant, kb_id, ds_id)
        return next(job for job in self._base(tenant, kb_id).jobs.values() if job.data_source_id == ds_id)

    async def delete_data_source(self, tenant, kb_id, ds_id) -> Receipt:
        await self.data_source(tenant, kb_id, ds_id)
        del self._base(tenant, kb_id).sources[ds_id]
        return Receipt(1, 2, 2, 3)

    async def job(self, tenant, kb_id, job_id) -> Job:
        return self._pick(self._base(tenant, kb_id).jobs, job_id, "job")

    async def jobs(self, tenant, kb_id, page, *, status=None) -> Listing[Job]:
        jobs = self._base(tenant, kb_id).jobs.values()
        return _paged([job for job in jobs if status in (None, job.status)], page)

    async def cancel_job(self, tenant, kb_id, job_id) -> Job:
        return replace(await self.job(tenant, kb_id, job_id), status="cancelled")

    async def job_events(self, tenant, kb_id, job_id) -> AsyncIterator[Job]:
        job = await self.job(tenant, kb_id, job_id)
        yield replace(job, status="processing", completed_at=None)
        yield job

    async def document(self, tenant, kb_id, doc_id) -> Document:
        return self._pick(self._base(tenant, kb_id).documents, doc_id, "document")

    async def documents(self, tenant, kb_id, page, *, status=None, data_source_id=None, name=None) -> Listing[Document]:
        found = [
            one
            for one in self._base(tenant, kb_id).documents.values()
            if status in (None, one.status)
            and data_source_id in (None, one.data_source_id)
            and name in (None, one.name)
        ]
        return _paged(found, page)

    async def update_document(self, tenant, kb_id, doc_id, metadata) -> Document:
        changed = replace(await self.document(tenant, kb_id, doc_id), metadata=metadata)
        self._base(tenant, kb_id).documents[doc_id] = changed
        return changed

    async def delete_document(self, tenant, kb_id, doc_id) -> Receipt:
        await self.document(tenant, kb_id, doc_id)
        del self._base(tenant, kb_id).documents[doc_id]
        return Receipt(1, 4, 4, 2)

    async def document_text(self, tenant, kb_id, doc_id) -> str:
        await self.document(tenant, kb_id, doc_id)
        return self.text

    async def document_chunks(self, tenant, kb_id, doc_id, page) -> Listing[Passage]:
        await self.document(tenant, kb_id, doc_id)
        return Listing((PASSAGE,), False)
