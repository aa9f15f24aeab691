"""Settings to parts: the only factory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import httpx

from rag.embedders import SentenceTransformerEmbedder
from rag.errors import ConfigurationError
from rag.extractive import ExtractiveGenerator
from rag.generators import OpenAIGenerator
from rag.pipeline import ChatModel, ModelCard, Pipeline
from rag.ports import Embedder, Reranker, VectorStore
from rag.prompt import Layout
from rag.qdrant import QdrantStore, connect
from rag.rerankers import CrossEncoderReranker
from rag.settings import EngineSettings, RagSettings

_EXTRACTIVE = ChatModel(
    ExtractiveGenerator(),
    ModelCard(
        id="extractive",
        kind="chat",
        owned_by="tensoras",
        created=1_700_000_000,
        context_length=131_072,
        capabilities=("chat", "streaming", "knowledge_bases"),
        description="No language model: quotes the best-supporting sentences of the passages, word for word.",
    ),
)


def build_embedder(settings: RagSettings) -> SentenceTransformerEmbedder:
    """Loads the weights: seconds of work, call it off the event loop."""
    return SentenceTransformerEmbedder(settings.embedding_model, threads=settings.torch_threads, device=settings.device)


def build_store(settings: RagSettings, embedder: Embedder) -> QdrantStore:
    """A client of QDRANT_URL for vectors of this embedder; connects on first use."""
    if settings.qdrant_url is None:
        raise ConfigurationError(
            "QDRANT_URL is not set: give a Qdrant server's URL, or run `tensoras serve`, which starts one"
        )
    key = settings.qdrant_api_key
    client = connect(settings.qdrant_url, key.get_secret_value() if key else None)
    return QdrantStore(client, model=embedder.model, dimension=embedder.dimension)


def build_reranker(settings: RagSettings) -> Reranker | None:
    """None for `off`."""
    if settings.rerank_model == "off":
        return None
    return CrossEncoderReranker(settings.rerank_model, threads=settings.torch_threads, device=settings.device)


def build_chat_models(engines: Mapping[str, EngineSettings], timeout: float) -> dict[str, ChatModel]:
    """Every engine under its name and its aliases, and the built-in extractive one."""
    # Engines are named by the operator; a proxy from the environment must not see their traffic or keys.
    client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=None))
    models = {"extractive": _EXTRACTIVE}
    for name, engine in engines.items():
        generator = OpenAIGenerator(name, engine, client, timeout=timeout)
        card = ModelCard(
            id=name,
            kind="chat",
            owned_by="engine",
            created=int(time.time()),
            context_length=engine.context_length,
            capabilities=("chat", "streaming", "knowledge_bases", "tools", "json_schema"),
        )
        layout = Layout(engine.prompt_style, engine.cite_markers)
        for public in (name, *engine.aliases):
            if public in models:
                raise ConfigurationError(f"ENGINES names {public!r} twice; every name and alias is used once")
            models[public] = ChatModel(generator, card, layout, engine.default_top_k)
    return models


def build_pipeline(
    settings: RagSettings,
    *,
    embedder: Embedder | None = None,
    store: VectorStore | None = None,
) -> Pipeline:
    """Everything a question needs. Loads models: seconds of work, call it off the event loop."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    embedder = embedder or build_embedder(settings)
    store = store or build_store(settings, embedder)
    reranker = build_reranker(settings)
    created = int(time.time())
    cards = [ModelCard(embedder.model, "embedding", "tensoras", created, embedder.max_tokens, ("embeddings",))]
    if reranker is not None:
        cards.append(ModelCard(reranker.model, "rerank", "tensoras", created, None, ("rerank",)))
    chat = build_chat_models(settings.engines, settings.engine_timeout)
    return Pipeline(embedder, store, chat, reranker=reranker, cards=cards)
