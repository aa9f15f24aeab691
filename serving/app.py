"""The ASGI application: middleware in order, routes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from serving import health
from serving.auth import AuthMiddleware
from serving.context import BodyLimit, RequestContext
from serving.errors import ErrorMiddleware, on_framework_error
from serving.limits import Limiter, LimitMiddleware, MemoryLimiter
from serving.routes import ROUTERS
from serving.services import Provider, Services
from serving.settings import ServingSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
_EXPOSED = ["x-request-id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]


def create_app(
    services: Services | Provider, *, limiter: Limiter | None = None, lifespan: Lifespan | None = None
) -> FastAPI:
    """The gateway. With a Provider /health answers at once, the rest 503 until the services are set."""
    provider = services if isinstance(services, Provider) else Provider(services.settings, services)
    limiter = limiter or MemoryLimiter()
    app = Gateway(
        title="tensoras-server",
        version=_version(),
        summary="Retrieval-augmented generation behind the OpenAI API",
        middleware=_middleware(provider, limiter, provider.settings),
        exception_handlers={
            RequestValidationError: on_framework_error,
            HTTPException: on_framework_error,
        },
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.provider = provider
    app.state.limiter = limiter
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _middleware(provider: Provider, limiter: Limiter, settings: ServingSettings) -> list[Middleware]:
    """Outermost first. Who asks is known before the body is read; one place renders every refusal."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    return [
        Middleware(RequestContext),
        *([cors] if settings.cors_origins else []),
        Middleware(ErrorMiddleware),
        Middleware(AuthMiddleware, provider=provider),
        Middleware(LimitMiddleware, limiter=limiter, settings=settings),
        Middleware(BodyLimit, settings=settings),
    ]


def _version() -> str:
    try:
        return version("tensoras-server")
    except PackageNotFoundError:
        return "0"


class Gateway(FastAPI):
    """FastAPI, with a description that tells the truth about validation errors and keys."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            components = described.setdefault("components", {})
            for name in ("HTTPValidationError", "ValidationError"):
                components.get("schemas", {}).pop(name, None)
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, methods in described["paths"].items():
                for operation in methods.values():
                    # Validation errors are answered as 400, in the shape of every other error.
                    operation["responses"].pop("422", None)
                    if path.startswith("/v1/"):
                        operation["security"] = [{"key": []}]
            self.openapi_schema = described
        return self.openapi_schema
