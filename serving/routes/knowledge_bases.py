"""/v1/knowledge-bases."""

from __future__ import annotations

from fastapi import Request

from serving.routes.deps import Editor, Json, Paged, Reader, Running, new_router
from serving.routes.idempotent import once
from serving.wire.common import ListObject, listed
from serving.wire.knowledge_bases import (
    CreateKnowledgeBase,
    KnowledgeBaseObject,
    Removed,
    UpdateKnowledgeBase,
)

router = new_router("Knowledge bases", "/knowledge-bases")


@router.post("", response_model=KnowledgeBaseObject)
async def create(request: Request, asked: CreateKnowledgeBase, principal: Editor, services: Running) -> Json:
    """Creates an empty knowledge base."""

    async def make() -> KnowledgeBaseObject:
        chunking = asked.chunking_strategy
        made = await services.ingestion.create_knowledge_base(
            principal.tenant_id,
            asked.name,
            description=asked.description,
            embedding_model=asked.embedding_model,
            chunking=chunking.strategy(services.embedder.max_tokens) if chunking else None,
            metadata=asked.metadata,
        )
        return KnowledgeBaseObject.of(made)

    return await once(request, services, principal, asked.model_dump(), make)


@router.get("")
async def list_all(page: Paged, principal: Reader, services: Running) -> ListObject[KnowledgeBaseObject]:
    found = await services.ingestion.knowledge_bases(principal.tenant_id, page)
    data = [KnowledgeBaseObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{kb_id}")
async def get(kb_id: str, principal: Reader, services: Running) -> KnowledgeBaseObject:
    return KnowledgeBaseObject.of(await services.ingestion.knowledge_base(principal.tenant_id, kb_id))


@router.patch("/{kb_id}")
async def update(kb_id: str, asked: UpdateKnowledgeBase, principal: Editor, services: Running) -> KnowledgeBaseObject:
    """Changes the fields that are given; `defaults` and `metadata` are replaced as a whole."""
    tenant, changes = principal.tenant_id, asked.changes()
    if not changes:
        return KnowledgeBaseObject.of(await services.ingestion.knowledge_base(tenant, kb_id))
    return KnowledgeBaseObject.of(await services.ingestion.update_knowledge_base(tenant, kb_id, changes))


@router.delete("/{kb_id}")
async def delete(kb_id: str, principal: Editor, services: Running) -> Removed:
    """Removes the knowledge base with all its documents, vectors and blobs."""
    receipt = await services.ingestion.delete_knowledge_base(principal.tenant_id, kb_id)
    return Removed.of(kb_id, "knowledge_base", receipt)
