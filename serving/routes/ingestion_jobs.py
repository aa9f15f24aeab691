"""/v1/knowledge-bases/{kb_id}/ingestion-jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from ingestion.records import Job
from serving.routes.deps import Editor, Paged, Reader, Running, new_router
from serving.sse import DONE, EventStream, begun, closing, event
from serving.wire.common import ListObject, listed
from serving.wire.knowledge_bases import JobObject, JobStatus

router = new_router("Ingestion jobs", "/knowledge-bases/{kb_id}/ingestion-jobs")


@router.get("")
async def list_all(
    kb_id: str,
    page: Paged,
    principal: Reader,
    services: Running,
    status: Annotated[JobStatus | None, Query()] = None,
) -> ListObject[JobObject]:
    found = await services.ingestion.jobs(principal.tenant_id, kb_id, page, status=status)
    data = [JobObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{job_id}")
async def get(kb_id: str, job_id: str, principal: Reader, services: Running) -> JobObject:
    return JobObject.of(await services.ingestion.job(principal.tenant_id, kb_id, job_id))


@router.post("/{job_id}/cancel")
async def cancel(kb_id: str, job_id: str, principal: Editor, services: Running) -> JobObject:
    """Stops a job. Documents that are done stay; the others are not started."""
    return JobObject.of(await services.ingestion.cancel_job(principal.tenant_id, kb_id, job_id))


@router.get(
    "/{job_id}/events",
    response_model=None,
    responses={
        200: {
            "description": "The job, then the job each time it changes, until it ends; then `[DONE]`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def events(kb_id: str, job_id: str, request: Request, principal: Reader, services: Running) -> Response:
    """Progress as server-sent events."""
    jobs = services.ingestion.job_events(principal.tenant_id, kb_id, job_id)
    return EventStream(await begun(request.receive, _events(jobs)))


async def _events(jobs: AsyncIterator[Job]) -> AsyncGenerator[bytes, None]:
    async with closing(jobs):
        async for job in jobs:
            yield event(JobObject.of(job).model_dump())
    yield DONE
