"""/v1/knowledge-bases/{kb_id}/documents."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from serving.routes.deps import Cursor, Editor, Paged, Read, Reader, Running, Words, new_router
from serving.wire.common import ListObject, listed
from serving.wire.knowledge_bases import (
    ChunkObject,
    DocumentObject,
    DocumentStatus,
    Removed,
    UpdateDocument,
)

router = new_router("Documents", "/knowledge-bases/{kb_id}/documents")


@router.get("")
async def list_all(
    kb_id: str,
    page: Paged,
    principal: Reader,
    services: Running,
    status: Annotated[DocumentStatus | None, Query()] = None,
    data_source_id: Cursor = None,
    name: Words = None,
) -> ListObject[DocumentObject]:
    found = await services.ingestion.documents(
        principal.tenant_id, kb_id, page, status=status, data_source_id=data_source_id, name=name
    )
    data = [DocumentObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{doc_id}")
async def get(kb_id: str, doc_id: str, principal: Reader, services: Running) -> DocumentObject:
    return DocumentObject.of(await services.ingestion.document(principal.tenant_id, kb_id, doc_id))


@router.patch("/{doc_id}")
async def update(
    kb_id: str, doc_id: str, asked: UpdateDocument, principal: Editor, services: Running
) -> DocumentObject:
    """Replaces the document's metadata, in the index too."""
    changed = await services.ingestion.update_document(principal.tenant_id, kb_id, doc_id, asked.metadata)
    return DocumentObject.of(changed)


@router.delete("/{doc_id}")
async def delete(kb_id: str, doc_id: str, principal: Editor, services: Running) -> Removed:
    """Removes the document's vectors, text, blobs and rows."""
    receipt = await services.ingestion.delete_document(principal.tenant_id, kb_id, doc_id)
    return Removed.of(doc_id, "document", receipt)


@router.get(
    "/{doc_id}/content",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def content(kb_id: str, doc_id: str, principal: Reader, services: Running) -> Response:
    """The canonical text, of which every chunk and quote is a span."""
    text = await services.ingestion.document_text(principal.tenant_id, kb_id, doc_id)
    # "replace" keeps one code point per code point, so spans stay right even for a lone surrogate.
    return Response(text.encode("utf-8", "replace"), media_type="text/plain; charset=utf-8")


@router.get("/{doc_id}/chunks")
async def chunks(kb_id: str, doc_id: str, page: Read, principal: Reader, services: Running) -> ListObject[ChunkObject]:
    found = await services.ingestion.document_chunks(principal.tenant_id, kb_id, doc_id, page)
    data = [ChunkObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)
