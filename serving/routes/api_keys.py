"""/v1/api-keys, for keys with the scope `admin`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel

from rag.errors import InvalidRequest
from serving.auth import Principal
from serving.errors import Forbidden
from serving.routes.deps import Admin, Json, Paged, Running, new_router
from serving.routes.idempotent import once
from serving.wire.common import Deleted, ListObject, listed
from serving.wire.keys import TENANT_PATTERN, CreatedKey, CreateKey, KeyLimits, KeyObject

router = new_router("API keys", "/api-keys")
TenantName = Annotated[
    str | None, Query(pattern=TENANT_PATTERN, description="Another tenant, for the operator's key only.")
]


@router.post("", response_model=CreatedKey)
async def create(request: Request, asked: CreateKey, principal: Admin, services: Running) -> Json:
    """Makes a key. Its text is in this answer and nowhere else: a replay of the answer leaves it out."""
    tenant = _acting(principal, asked.tenant)
    if asked.expires_at is not None and asked.expires_at <= time.time():
        raise InvalidRequest("'expires_at' is in the past; it takes Unix seconds.", param="expires_at")

    async def make() -> CreatedKey:
        limits = asked.limits or KeyLimits()
        key, secret = await services.ledger.keys.create(
            tenant,
            asked.name,
            list(dict.fromkeys(asked.scopes)),
            rpm=limits.rpm,
            tpm=limits.tpm,
            expires_at=asked.expires_at,
        )
        return CreatedKey.of(key, secret)

    return await once(request, services, principal, asked.model_dump(), make, kept=_without_secret)


def _acting(principal: Principal, tenant: str | None) -> str:
    """The tenant whose keys are meant. Raises Forbidden for another one than the caller's own."""
    if tenant is not None and tenant != principal.tenant_id and not principal.operator:
        raise Forbidden("Only the operator's bootstrap key may look after the keys of another tenant.")
    return tenant or principal.tenant_id


def _without_secret(made: BaseModel) -> BaseModel:
    """Keys are kept as hashes only, in the book of answers too."""
    return made.model_copy(update={"key": None})


@router.get("")
async def list_all(
    page: Paged, principal: Admin, services: Running, tenant: TenantName = None
) -> ListObject[KeyObject]:
    """The tenant's live keys."""
    found = await services.ledger.keys.list(_acting(principal, tenant), page)
    data = [KeyObject.of(one) for one in found.items]
    return listed(data, [one.id for one in data], found.has_more)


@router.get("/{key_id}")
async def get(key_id: str, principal: Admin, services: Running, tenant: TenantName = None) -> KeyObject:
    return KeyObject.of(await services.ledger.keys.get(_acting(principal, tenant), key_id))


@router.delete("/{key_id}")
async def revoke(key_id: str, principal: Admin, services: Running, tenant: TenantName = None) -> Deleted:
    """Ends a key at once, in every process."""
    owner, keys = _acting(principal, tenant), services.ledger.keys
    # It works for all tenants: no admin of one may lock the operator out.
    if (await keys.get(owner, key_id)).operator and not principal.operator:
        raise Forbidden("Only the operator's bootstrap key may end itself. Ask the operator.")
    await keys.revoke(owner, key_id)
    return Deleted(id=key_id, object="api_key")
