"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import Response

from ingestion.records import KnowledgeBase
from ingestion.service import Ingestion
from rag.errors import InvalidRequest, NotFound
from rag.types import Delta, Message, Question, RagOptions, Scope
from serving.auth import Principal
from serving.errors import Forbidden
from serving.metering import Meter
from serving.routes.deps import Chatter, Json, Running, new_router, till_of
from serving.services import Pipeline, Services
from serving.sse import DONE, EventStream, begun, event, unless_left
from serving.wire.chat import ChatCompletionObject, ChatRequest, Writer, engine_params
from serving.wire.rag import rag_options

router = new_router("Chat")


@router.post(
    "/chat/completions",
    response_model=None,
    responses={
        200: {
            "model": ChatCompletionObject,
            "description": "The answer; with `stream` server-sent chunks and then `[DONE]`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def create(request: Request, asked: ChatRequest, principal: Chatter, services: Running) -> Response:
    """Answers a conversation, from the named knowledge bases where there are any."""
    question = await _question(await request.json(), asked, principal, services)
    writer = Writer(
        model=asked.model,
        base=services.settings.public_url or str(request.base_url).rstrip("/"),
        asked=question.scope is not None,
        choices=asked.n or 1,
        include_usage=asked.include_usage,
    )
    meter = Meter(till_of(request, principal), question)
    if asked.stream:
        return await _streamed(request, services.pipeline, question, writer, meter)
    async with meter:
        answer = await unless_left(request.receive, services.pipeline.answer(question))
        meter.finished(answer.usage)
    return Json(writer.completion(answer))


async def _question(raw: dict[str, Any], asked: ChatRequest, principal: Principal, services: Services) -> Question:
    """The request inside the library. Everything that can be refused is refused here, before work starts."""
    wrong = asked.conflict()
    if wrong is not None:
        raise InvalidRequest(f"Invalid '{wrong[0]}': {wrong[1]}.", param=wrong[0])
    known_chat_model(services.pipeline, asked.model)
    bases = await _bases(asked.knowledge_bases or [], principal, services.ingestion)
    return Question(
        model=asked.model,
        messages=tuple(Message.from_openai(message) for message in raw["messages"]),
        params=engine_params(raw),
        scope=Scope(principal.tenant_id, tuple(base.id for base in bases)) if bases else None,
        rag=_options(asked, bases),
    )


def known_chat_model(pipeline: Pipeline, name: str) -> None:
    """Raises NotFound for a model that is not there, or that does not chat."""
    card = pipeline.models.get(name)
    if card is None or card.kind != "chat":
        what = "is not a chat model" if card else "does not exist on this server"
        raise NotFound(
            f"The model '{name[:200]}' {what}. GET /v1/models lists what there is.",
            code="model_not_found",
            param="model",
        )


async def _bases(knowledge_bases: list[str], principal: Principal, ingestion: Ingestion) -> list[KnowledgeBase]:
    """What is to be searched. Raises NotFound for the first knowledge base that the tenant does not have."""
    if knowledge_bases and "knowledge_bases:read" not in principal.scopes:
        raise Forbidden("Asking knowledge bases needs the scope 'knowledge_bases:read' besides 'chat'.")
    found = []
    for kb_id in dict.fromkeys(knowledge_bases):
        try:
            found.append(await ingestion.knowledge_base(principal.tenant_id, kb_id))
        except NotFound as missing:
            raise NotFound(
                f"No knowledge base {kb_id!r}. GET /v1/knowledge-bases lists yours.",
                code="knowledge_base_not_found",
                param="knowledge_bases",
            ) from missing
    return found


def _options(asked: ChatRequest, bases: list[KnowledgeBase]) -> RagOptions:
    """The `rag` object; where one knowledge base is asked, its defaults fill what is left out."""
    defaults = dict(bases[0].defaults) if len(bases) == 1 else {}
    return rag_options(defaults | (asked.rag.plain() if asked.rag else {}))


async def _streamed(
    request: Request, pipeline: Pipeline, question: Question, writer: Writer, meter: Meter
) -> EventStream:
    deltas = await begun(request.receive, _metered(pipeline.stream(question), meter))
    return EventStream(_events(deltas, writer))


async def _metered(deltas: AsyncGenerator[Delta, None], meter: Meter) -> AsyncGenerator[Delta, None]:
    """The same deltas, counted; however the stream ends, it is written down and the pipeline is closed."""
    async with meter, aclosing(deltas):
        async for delta in deltas:
            meter.saw(delta)
            yield delta


async def _events(deltas: AsyncGenerator[Delta, None], writer: Writer) -> AsyncGenerator[bytes, None]:
    async with aclosing(deltas):
        async for delta in deltas:
            for chunk in writer.chunks(delta):
                yield event(chunk)
    yield DONE
