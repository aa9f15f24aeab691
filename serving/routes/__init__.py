"""One file per noun."""

from __future__ import annotations

from fastapi import APIRouter

from serving.routes import (
    api_keys,
    chat,
    data_sources,
    documents,
    embeddings,
    files,
    ingestion_jobs,
    knowledge_bases,
    models,
    rerank,
    retrieve,
    usage,
)

ROUTERS: tuple[APIRouter, ...] = (
    chat.router,
    embeddings.router,
    rerank.router,
    models.router,
    files.router,
    knowledge_bases.router,
    data_sources.router,
    ingestion_jobs.router,
    documents.router,
    retrieve.router,
    api_keys.router,
    usage.router,
)
"""Everything under /v1."""
