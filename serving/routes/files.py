"""/v1/files."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from ingestion.records import Page
from rag.errors import InvalidRequest
from serving.auth import Principal
from serving.ledger import StoredFile
from serving.ledger.files import blob_key_of, new_file
from serving.ledger.paging import new_file_id
from serving.multipart import Form
from serving.routes.deps import Cursor, Filer, Json, Order, Running, new_router
from serving.routes.idempotent import once
from serving.services import Services
from serving.sse import closing
from serving.wire.common import Deleted, ListObject, listed
from serving.wire.files import PURPOSES, FileObject

router = new_router("Files", "/files")

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(PURPOSES)},
                    },
                }
            }
        },
    }
}


@router.post("", response_model=FileObject, openapi_extra=_FORM)
async def upload(request: Request, principal: Filer, services: Running) -> Json:
    """Stores a file byte for byte; it is written to the store while it arrives."""
    body = request.stream()
    form = Form(request.headers.get("content-type", ""), body, max_file=services.settings.max_file_bytes)
    await form.open()
    if "purpose" in form.fields:
        _check_fields(form)
    if form.filename is None:
        raise InvalidRequest("Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
    file = await _store(form, principal, services)
    return await _recorded(request, file, principal, services)


def _check_fields(form: Form) -> str:
    """The purpose. Raises InvalidRequest for a missing or unknown one, and for fields that we do not know."""
    for name in form.fields:
        if name != "purpose":
            raise InvalidRequest(f"Unknown parameter: '{name[:100]}'.", code="unknown_parameter", param=name[:100])
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise InvalidRequest(
            "Missing required parameter: 'purpose'.", code="missing_required_parameter", param="purpose"
        )
    if purpose not in PURPOSES:
        raise InvalidRequest(f"'purpose' is one of {', '.join(PURPOSES)}.", param="purpose")
    return purpose


async def _store(form: Form, principal: Principal, services: Services) -> StoredFile:
    """The bytes in the blob store; nothing of them is left there when anything goes wrong."""
    file_id = new_file_id()
    key = blob_key_of(file_id)
    try:
        async with aclosing(form.file()) as data:
            stored = await services.blobs.put(key, data)
        await form.close()
        purpose = _check_fields(form)
    except BaseException:
        await services.blobs.delete(key)
        raise
    return new_file(
        principal.tenant_id,
        file_id=file_id,
        filename=form.filename or "",
        purpose=purpose,
        stored=stored,
        content_type=form.content_type or "application/octet-stream",
    )


async def _recorded(request: Request, file: StoredFile, principal: Principal, services: Services) -> Json:
    """Writes the row. A request that was answered before keeps its first file, and these bytes go."""
    wrote = False

    async def record() -> FileObject:
        nonlocal wrote
        await services.ledger.files.add(file)
        wrote = True
        return FileObject.of(file)

    content = [file.filename, file.purpose, file.sha256, file.size_bytes]
    try:
        return await once(request, services, principal, content, record)
    finally:
        if not wrote:
            await services.blobs.delete(file.blob_key)


@router.get("")
async def list_all(
    principal: Filer,
    services: Running,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
    after: Cursor = None,
    before: Cursor = None,
    order: Order = "desc",
    purpose: Annotated[str | None, Query(max_length=64, pattern=r"^[A-Za-z_-]*$")] = None,
) -> ListObject[FileObject]:
    """The tenant's files. `limit` goes to 10,000 here, as OpenAI's does."""
    page = Page(limit, after, before, order)
    found = await services.ledger.files.list(principal.tenant_id, page, purpose=purpose)
    data = [FileObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{file_id}")
async def get(file_id: str, principal: Filer, services: Running) -> FileObject:
    return FileObject.of(await services.ledger.files.get(principal.tenant_id, file_id))


@router.delete("/{file_id}")
async def delete(file_id: str, principal: Filer, services: Running) -> Deleted:
    """Removes the file. Documents that were made from it stay."""
    file = await services.ledger.files.remove(principal.tenant_id, file_id)
    # The row goes first: a crash in between leaves bytes out of reach, never a file without bytes.
    await services.blobs.delete(file.blob_key)
    return Deleted(id=file.id, object="file")


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def content(file_id: str, principal: Filer, services: Running) -> Response:
    """The bytes, as they were uploaded."""
    file = await services.ledger.files.get(principal.tenant_id, file_id)
    chunks = services.blobs.stream(file.blob_key)
    first = await anext(chunks, b"")

    async def whole() -> AsyncGenerator[bytes, None]:
        async with closing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    headers = {
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": disposition(file.filename),
        # Uploaded bytes are never shown in a browser as a page of this origin.
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return StreamingResponse(whole(), media_type="application/octet-stream", headers=headers)


def disposition(filename: str) -> str:
    """RFC 6266: a plain ASCII name for old clients, the true one percent-encoded."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1] or "file"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%;' else "_" for c in base)
    true = quote(base.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{true}"
