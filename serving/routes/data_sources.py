"""/v1/knowledge-bases/{kb_id}/data-sources."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import ValidationError

from ingestion.records import Upload
from rag.errors import InvalidRequest
from serving.auth import Principal
from serving.ledger import StoredFile
from serving.routes.deps import Editor, Json, Paged, Reader, Running, new_router
from serving.routes.idempotent import once
from serving.services import Services
from serving.wire.common import ListObject, listed
from serving.wire.knowledge_bases import (
    SOURCE_TYPES,
    CreateDataSource,
    CreatedDataSource,
    DataSourceObject,
    JobObject,
    Removed,
    UploadConfig,
)

router = new_router("Data sources", "/knowledge-bases/{kb_id}/data-sources")


@router.post("", response_model=CreatedDataSource)
async def create(kb_id: str, request: Request, asked: CreateDataSource, principal: Editor, services: Running) -> Json:
    """Adds a source and starts the job that ingests it."""
    _check_type(asked.type)
    file_ids = _file_ids(asked)

    async def make() -> CreatedDataSource:
        return await _from_files(kb_id, asked, file_ids, principal, services)

    return await once(request, services, principal, asked.model_dump(), make)


def _check_type(kind: str) -> None:
    if kind not in SOURCE_TYPES:
        known = ", ".join(SOURCE_TYPES)
        raise InvalidRequest(f"Unknown type {kind[:100]!r}; known are {known}.", param="type")
    if kind != "file_upload":
        raise InvalidRequest(
            f"Data sources of type '{kind}' are not available yet. Upload files and use 'file_upload'.",
            param="type",
        )


def _file_ids(asked: CreateDataSource) -> list[str]:
    """The ids from `config` or from beside `type`, each once."""
    config: dict[str, Any] = dict(asked.config)
    place = "config.file_ids"
    if asked.file_ids is not None:
        if "file_ids" in config:
            raise InvalidRequest("Give 'file_ids' once: in 'config' or beside 'type'.", param="file_ids")
        config["file_ids"], place = asked.file_ids, "file_ids"
    try:
        checked = UploadConfig.model_validate(config)
    except ValidationError as refused:
        raise _bad_config(refused, place) from refused
    return list(dict.fromkeys(checked.file_ids))


def _bad_config(refused: ValidationError, place: str) -> InvalidRequest:
    first = refused.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "config"
    param = place if field == "file_ids" else f"config.{field}"
    if first["type"] == "missing":
        return InvalidRequest(
            "Missing required parameter: 'file_ids'. Upload files with POST /v1/files and name their ids.",
            code="missing_required_parameter",
            param=param,
        )
    unknown = first["type"] == "extra_forbidden"
    return InvalidRequest(
        f"Unknown parameter: '{param}'." if unknown else f"Invalid value for '{param}': {first['msg']}.",
        code="unknown_parameter" if unknown else "invalid_value",
        param=param,
    )


async def _from_files(
    kb_id: str, asked: CreateDataSource, file_ids: list[str], principal: Principal, services: Services
) -> CreatedDataSource:
    tenant = principal.tenant_id
    await services.ingestion.knowledge_base(tenant, kb_id)
    files = await services.ledger.files.get_all(tenant, file_ids)
    source, job = await services.ingestion.add_uploads(
        tenant,
        kb_id,
        asked.name or asked.type,
        [_upload(file, asked.metadata) for file in files],
        metadata=asked.metadata,
    )
    return CreatedDataSource.started(source, job)


def _upload(file: StoredFile, metadata: dict[str, Any]) -> Upload:
    return Upload(
        name=file.filename,
        blob_key=file.blob_key,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        content_type=file.content_type,
        file_id=file.id,
        metadata=metadata,
    )


@router.get("")
async def list_all(kb_id: str, page: Paged, principal: Reader, services: Running) -> ListObject[DataSourceObject]:
    found = await services.ingestion.data_sources(principal.tenant_id, kb_id, page)
    data = [DataSourceObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{ds_id}")
async def get(kb_id: str, ds_id: str, principal: Reader, services: Running) -> DataSourceObject:
    return DataSourceObject.of(await services.ingestion.data_source(principal.tenant_id, kb_id, ds_id))


@router.post("/{ds_id}/sync", response_model=JobObject)
async def sync(kb_id: str, ds_id: str, request: Request, principal: Editor, services: Running) -> Json:
    """Starts a job that brings the knowledge base up to date with the source."""

    async def start() -> JobObject:
        job = await services.ingestion.sync_data_source(principal.tenant_id, kb_id, ds_id)
        return JobObject.of(job)

    return await once(request, services, principal, None, start)


@router.delete("/{ds_id}")
async def delete(kb_id: str, ds_id: str, principal: Editor, services: Running) -> Removed:
    """Removes the source and the documents that came from it."""
    receipt = await services.ingestion.delete_data_source(principal.tenant_id, kb_id, ds_id)
    return Removed.of(ds_id, "data_source", receipt)
