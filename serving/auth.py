"""Who is asking: the bearer key, checked before anything of the body is read, and what the key may do."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import Forbidden, Unauthorized
from serving.ledger import ApiKey
from serving.services import Provider

OPEN_PATHS = frozenset({"/health", "/ready", "/docs", "/docs/oauth2-redirect", "/openapi.json"})
LOOPBACK_PATHS = frozenset({"/metrics"})
_MAX_KEY = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """The key behind a request. Everything it reads and writes belongs to its tenant."""

    key_id: str
    tenant_id: str
    scopes: frozenset[str]
    operator: bool = False
    rpm: int | None = None
    tpm: int | None = None

    @classmethod
    def of(cls, key: ApiKey) -> Principal:
        return cls(key.id, key.tenant_id, frozenset(key.scopes), key.operator, key.rpm, key.tpm)


def bearer(headers: Headers) -> str:
    """The key of the Authorization header. Raises Unauthorized where there is none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("No API key: send the header 'Authorization: Bearer tns_…'.")
    if len(key) > _MAX_KEY:
        raise _wrong_key()
    return key


def _wrong_key() -> Unauthorized:
    """The same words for unknown, expired and revoked, and never the key itself."""
    return Unauthorized("This API key is not valid: it is unknown, has expired or was revoked.")


def is_loopback(scope: Scope) -> bool:
    """True for a caller on this machine. A request that a proxy passed on is never one."""
    headers = Headers(scope=scope)
    if "x-forwarded-for" in headers or "forwarded" in headers:
        return False
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def needs_key(scope: Scope) -> bool:
    path = scope["path"]
    return path not in OPEN_PATHS and not (path in LOOPBACK_PATHS and is_loopback(scope))


class AuthMiddleware:
    """Lets a request in only with a live key, known routes or not; puts its Principal into the state."""

    def __init__(self, app: ASGIApp, provider: Provider) -> None:
        self.app = app
        self.provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and needs_key(scope):
            scope["state"]["principal"] = await self._identify(Headers(scope=scope))
        await self.app(scope, receive, send)

    async def _identify(self, headers: Headers) -> Principal:
        key = bearer(headers)
        found = await self.provider.services.ledger.keys.find(key)
        if found is None:
            raise _wrong_key()
        return Principal.of(found)


def principal_of(scope: Scope) -> Principal | None:
    found: Principal | None = scope.get("state", {}).get("principal")
    return found


class Requires:
    """Dependency of a route: the principal, if its key has the scope. Raises Forbidden otherwise."""

    def __init__(self, scope: str | None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        principal = principal_of(request.scope)
        if principal is None:
            raise _wrong_key()
        if self.scope is not None and self.scope not in principal.scopes:
            raise Forbidden(f"This API key lacks the scope '{self.scope}'. Use a key that has it.")
        return principal
