"""API keys and usage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from serving.ledger import SCOPES, ApiKey, UsageRow
from serving.wire.common import Body, Name, Object

TENANT_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"


def _known(scope: str) -> str:
    if scope not in SCOPES:
        raise ValueError(f"known scopes are {', '.join(SCOPES)}")
    return scope


KeyScope = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(SCOPES)})]
EVERYDAY = tuple(scope for scope in SCOPES if scope != "admin")


class KeyLimits(Body):
    rpm: int | None = Field(None, ge=1, le=10**9, description="Requests per minute; the server's default when unset.")
    tpm: int | None = Field(None, ge=1, le=10**12, description="Tokens per minute; the server's default when unset.")


class CreateKey(Body):
    name: Name
    scopes: list[KeyScope] = Field(default=list(EVERYDAY), min_length=1, max_length=len(SCOPES))
    limits: KeyLimits | None = None
    expires_at: int | None = Field(None, le=2**53, description="Unix seconds; never when unset.")
    tenant: Annotated[str, Field(pattern=TENANT_PATTERN)] | None = None


class LimitsObject(Object):
    rpm: int | None
    tpm: int | None


class KeyObject(Object):
    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    tenant: str
    scopes: list[str]
    limits: LimitsObject
    hint: str
    created_at: int
    expires_at: int | None

    @classmethod
    def of(cls, key: ApiKey, secret: str | None = None) -> Self:
        extra = {} if cls is KeyObject else {"key": secret}
        return cls(
            id=key.id,
            name=key.name,
            tenant=key.tenant_id,
            scopes=list(key.scopes),
            limits=LimitsObject(rpm=key.rpm, tpm=key.tpm),
            hint=key.hint,
            created_at=key.created_at,
            expires_at=key.expires_at,
            **extra,
        )


class CreatedKey(KeyObject):
    """`key` is shown in this answer only."""

    key: str | None


class UsageObject(Object):
    object: Literal["usage"] = "usage"
    key_id: str
    model: str
    day: str
    requests: int
    aborted: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, row: UsageRow) -> Self:
        return cls(
            key_id=row.key_id,
            model=row.model,
            day=row.day,
            requests=row.requests,
            aborted=row.aborted,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            total_tokens=row.prompt_tokens + row.completion_tokens,
        )


class UsageList(Object):
    object: Literal["list"] = "list"
    data: list[UsageObject]
