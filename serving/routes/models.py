"""GET /v1/models."""

from __future__ import annotations

from rag.errors import NotFound
from serving.routes.deps import Anyone, Running, new_router
from serving.wire.models import ModelList, ModelObject

router = new_router("Models", "/models")


@router.get("")
async def list_models(principal: Anyone, services: Running) -> ModelList:
    """Every model of this server: chat, embedding and rerank."""
    return ModelList(data=[ModelObject.of(card) for card in services.pipeline.models.values()])


@router.get("/{model_id:path}")
async def get_model(model_id: str, principal: Anyone, services: Running) -> ModelObject:
    card = services.pipeline.models.get(model_id)
    if card is None:
        raise NotFound(
            f"The model '{model_id[:200]}' does not exist here. GET /v1/models lists what there is.",
            code="model_not_found",
            param="model",
        )
    return ModelObject.of(card)
