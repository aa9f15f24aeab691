"""Taking documents in: their bytes first, under keys of their own, then all rows in one commit, then the
message.

Equal bytes (sha256) in one knowledge base are one document: sent again they are `unchanged`, unless the first
attempt failed, which is then repeated. Within one data source a known name with new bytes is a new version.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.blobs import Blobs, document_prefix, original_key
from ingestion.catalog import documents, jobs, knowledge_bases, sources, submissions
from ingestion.catalog.submissions import Placement
from ingestion.database import Database
from ingestion.dispatch import Dispatch
from ingestion.ids import new_id
from ingestion.records import JSON, DataSource, Job, Upload
from rag.errors import Conflict, InvalidRequest, NotFound, TensorasError

log = logging.getLogger(__name__)
_COPIES_AT_ONCE = 8
_FAN_OUT = 8
"""Messages per job at most: as many workers look at it at once. One that comes too late finds nothing to
do."""


class _Outdated(Exception):
    """The plan does not fit the rows any more."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Uploads for a source: an existing one by id, or a new one by name, type and config."""

    tenant: str
    kb_id: str
    uploads: Sequence[Upload]
    source_id: str | None = None
    name: str = ""
    source_type: str = "file_upload"
    config: JSON = field(default_factory=dict)
    metadata: JSON = field(default_factory=dict)


class Intake:
    def __init__(self, database: Database, blobs: Blobs, dispatcher: Dispatch) -> None:
        self._database = database
        self._blobs = blobs
        self._dispatcher = dispatcher

    async def submit(self, submission: Submission) -> tuple[DataSource, Job]:
        """Raises NotFound, Conflict while the knowledge base is being deleted, or InvalidRequest where
        the bytes of an upload are gone. Either everything is taken in or nothing."""
        for _ in range(3):
            placements = await self._plan(submission)
            copied: list[str] = []
            try:
                await self._copy(submission, placements, copied)
                source, job = await self._commit(submission, placements)
            except _Outdated:
                await self._discard(copied)
                continue
            except BaseException:  # also a cancelled request takes its copies back; the error goes on
                await asyncio.shield(self._discard(copied))
                raise
            await self.dispatch(job)
            return source, job
        raise Conflict("the same documents are being changed by others; try again", code="knowledge_base_busy")

    async def repeat(self, tenant: str, kb_id: str, source_id: str) -> Job:
        """A job over the documents of a source whose items cannot change: failed ones are tried again."""
        async with self._database.begin() as connection:
            await knowledge_bases.lock(connection, tenant, kb_id)
            source = await sources.get(connection, tenant, kb_id, source_id)
            rows = await documents.of_source(connection, tenant, kb_id, source_id)
            placements = [_same(_upload_of(row), row) for row in rows]
            job_id = await submissions.add_job(connection, tenant, source, placements)
            job = await jobs.get(connection, tenant, kb_id, job_id)
        await self.dispatch(job)
        return job

    async def dispatch(self, job: Job) -> None:
        """After the commit. A broker that is away is no error: the sweeper finds the job."""
        waiting = job.documents_total - job.documents_unchanged
        if waiting == 0:
            return
        try:
            await self._dispatcher.enqueue(job.id, min(waiting, _FAN_OUT))
        except TensorasError as error:
            log.warning("a job will start later: %s", error.message, extra={"job": job.id})

    # planning ------------------------------------------------------------------------------------
    async def _plan(self, submission: Submission) -> list[Placement]:
        tenant, kb_id = submission.tenant, submission.kb_id
        async with self._database.begin() as connection:
            await knowledge_bases.lock(connection, tenant, kb_id)
            equal, named = await _known(connection, submission)
            placed: dict[str, Placement] = {}
            plan = []
            for upload in submission.uploads:
                placement = await _place(connection, submission, upload, equal, named, placed)
                placed.setdefault(upload.sha256, placement)
                plan.append(placement)
        return plan

    async def _copy(self, submission: Submission, placements: list[Placement], copied: list[str]) -> None:
        limit = asyncio.Semaphore(_COPIES_AT_ONCE)

        async def copy(placement: Placement) -> None:
            prefix = document_prefix(submission.tenant, submission.kb_id, placement.document_id)
            target = original_key(prefix, placement.version)
            async with limit:
                try:
                    await self._blobs.copy(placement.upload.blob_key, target)
                except NotFound as error:
                    raise InvalidRequest(
                        f"the bytes of {placement.upload.name!r} are gone; upload the file again",
                        code="file_not_found",
                    ) from error
                copied.append(target)

        results = await asyncio.gather(
            *(copy(placement) for placement in placements if placement.kind != "same"),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _discard(self, copied: list[str]) -> None:
        for key in copied:
            await self._blobs.delete(key)

    # committing ----------------------------------------------------------------------------------
    async def _commit(self, submission: Submission, placements: list[Placement]) -> tuple[DataSource, Job]:
        tenant, kb_id = submission.tenant, submission.kb_id
        async with self._database.begin() as connection:
            await knowledge_bases.lock(connection, tenant, kb_id)
            await _still_fits(connection, submission, placements)
            source_id = submission.source_id or await sources.create(
                connection,
                tenant,
                kb_id,
                submission.source_type,
                submission.name,
                config=submission.config,
                metadata=submission.metadata,
            )
            source = await sources.get(connection, tenant, kb_id, source_id)
            await submissions.add_documents(connection, tenant, source, placements, submission.metadata)
            job_id = await submissions.add_job(connection, tenant, source, placements)
            job = await jobs.get(connection, tenant, kb_id, job_id)
        return source, job


async def _known(
    connection: AsyncConnection, submission: Submission
) -> tuple[Mapping[str, RowMapping], Mapping[str, RowMapping]]:
    tenant, kb_id = submission.tenant, submission.kb_id
    hashes = [upload.sha256 for upload in submission.uploads]
    equal = await documents.by_sha256(connection, tenant, kb_id, hashes)
    if submission.source_id is None:
        return equal, {}
    await sources.get(connection, tenant, kb_id, submission.source_id)
    names = [upload.name for upload in submission.uploads]
    named = await documents.by_name(connection, tenant, kb_id, submission.source_id, names)
    changing = {row["id"] for upload in submission.uploads if (row := named.get(upload.name)) and _differs(upload, row)}
    # Files change places (a rotated log): bytes that are about to leave a document are not there any more.
    return {sha256: row for sha256, row in equal.items() if row["id"] not in changing}, named


def _differs(upload: Upload, row: RowMapping) -> bool:
    return bool(row["sha256"] != upload.sha256 or row["superseded"])


async def _place(
    connection: AsyncConnection,
    submission: Submission,
    upload: Upload,
    equal: Mapping[str, RowMapping],
    named: Mapping[str, RowMapping],
    placed: Mapping[str, Placement],
) -> Placement:
    if row := named.get(upload.name):
        if not _differs(upload, row):
            return _same(upload, row)
        tenant, kb_id = submission.tenant, submission.kb_id
        version = await documents.next_version(connection, tenant, kb_id, row["id"])
        return Placement(upload, "version", row["id"], version)
    if row := equal.get(upload.sha256):
        return _same(upload, row)
    if earlier := placed.get(upload.sha256):
        return Placement(upload, "same", earlier.document_id, earlier.version)
    return Placement(upload, "new", new_id("doc"), 1)


def _same(upload: Upload, row: RowMapping) -> Placement:
    done = row["status"] == "completed"
    return Placement(upload, "same", row["id"], row["version"] if done else row["last_version"], done)


def _upload_of(row: RowMapping) -> Upload:
    return Upload(
        row["name"],
        "",
        row["sha256"],
        row["size_bytes"],
        row["content_type"],
        row["file_id"],
        row["metadata"],
    )


async def _still_fits(connection: AsyncConnection, submission: Submission, placements: Sequence[Placement]) -> None:
    """Between plan and commit the bytes were copied. Raises _Outdated when others were faster."""
    equal, named = await _known(connection, submission)
    fresh = {p.document_id for p in placements if p.kind == "new"}
    known = {row["id"]: row["last_version"] for row in (*equal.values(), *named.values())}
    for placement in placements:
        if placement.kind == "new" and placement.upload.sha256 in equal:
            raise _Outdated
        if placement.kind == "same" and placement.document_id not in {*known, *fresh}:
            raise _Outdated
        if placement.kind == "version" and known.get(placement.document_id, placement.version) >= placement.version:
            raise _Outdated
