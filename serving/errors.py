"""The one place that knows HTTP's side of failures: exceptions in, OpenAI's error body out.

Every failure leaves the server as `{"error": {"message", "type", "param", "code"}}` with the status of the
table below. Errors of the library are mapped by class; those of the edge (a missing key, a large body) are
defined here; whatever is left is a bug: logged with its traceback, answered as a 500 that tells the request
id and nothing of the inside.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag import errors

log = logging.getLogger("tensoras.http")


class Unauthorized(errors.TensorasError):
    """No key, or one that is unknown, expired or revoked. 401."""

    code = "invalid_api_key"


class Forbidden(errors.TensorasError):
    """The key is good but may not do this. 403."""

    code = "missing_scope"


class TooLarge(errors.TensorasError):
    """The body is larger than the server takes. 413."""

    code = "file_too_large"


class RateLimited(errors.TensorasError):
    """The key has used up its requests or tokens. 429; `retry_after` is in seconds."""

    code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as HTTP says it."""

    status: int
    type: str
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> Response:
        return Response(orjson.dumps(self.body), self.status, headers=self.headers, media_type="application/json")


# Most specific first: an exception is answered by the first class that it is an instance of.
_BY_CLASS: tuple[tuple[type[errors.TensorasError], int, str], ...] = (
    (errors.InvalidRequest, 400, "invalid_request_error"),
    (errors.DocumentError, 400, "invalid_request_error"),
    (Unauthorized, 401, "authentication_error"),
    (Forbidden, 403, "permission_error"),
    (errors.NotFound, 404, "not_found_error"),
    (errors.Conflict, 409, "conflict_error"),
    (TooLarge, 413, "invalid_request_error"),
    (RateLimited, 429, "rate_limit_error"),
    (errors.EngineOverloaded, 429, "rate_limit_error"),
    (errors.EngineError, 502, "api_error"),
    (errors.DeadlineExceeded, 504, "api_error"),
    (errors.Unavailable, 503, "api_error"),
    (errors.ConfigurationError, 500, "api_error"),
)
_BY_STATUS = {
    400: ("invalid_request_error", "invalid_value"),
    404: ("not_found_error", "unknown_url"),
    405: ("invalid_request_error", "method_not_allowed"),
    413: ("invalid_request_error", "file_too_large"),
}


def describe(exc: BaseException, request_id: str = "") -> Failure:
    """The failure that a client is told for `exc`. Anything that is not ours is an internal error."""
    if isinstance(exc, RequestValidationError):
        return _invalid(exc)
    if isinstance(exc, HTTPException):
        return _of_framework(exc)
    for kind, status, name in _BY_CLASS:
        if isinstance(exc, kind):
            return Failure(status, name, exc.message, exc.code, exc.param, _headers(exc))
    message = "The server failed to answer. Try again; if it goes on, give the operator this request id"
    return Failure(500, "api_error", f"{message}: {request_id or 'unknown'}.", "internal_error")


def _headers(exc: errors.TensorasError) -> dict[str, str]:
    headers: dict[str, str] = {}
    seconds = getattr(exc, "retry_after", None)
    if seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if isinstance(exc, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="tensoras"'
    if isinstance(exc, (Unauthorized, TooLarge)):
        # The body was not read: without this the server would read what is left of it to keep the connection.
        headers["Connection"] = "close"
    return headers


def _of_framework(exc: HTTPException) -> Failure:
    kind, code = _BY_STATUS.get(exc.status_code, ("api_error", "internal_error"))
    message = {
        404: "Unknown URL. The routes of this server are listed at /docs.",
        405: "This URL does not take that method; the Allow header lists those it takes.",
    }.get(exc.status_code, str(exc.detail))
    return Failure(exc.status_code, kind, message, code, headers=dict(exc.headers or {}))


# validation --------------------------------------------------------------------------------------


def _invalid(exc: RequestValidationError) -> Failure:
    found: Sequence[Mapping[str, Any]] = exc.errors()
    first = found[0]
    if first["type"] == "json_invalid":
        why = str(first.get("ctx", {}).get("error", "bad syntax"))
        return _bad_request(f"The body is not valid JSON: {why}.", "invalid_json", None)
    if first["loc"] == ("body",):
        return _bad_body(first)
    places = [_place(error, exc.body) for error in found]
    param = max(places, key=_depth)
    told = [error for error, place in zip(found, places, strict=True) if place == param]
    return _bad_request(*_sentence(told, param), param)


def _bad_request(message: str, code: str, param: str | None) -> Failure:
    return Failure(400, "invalid_request_error", message, code, param)


def _bad_body(error: Mapping[str, Any]) -> Failure:
    if error["type"] == "missing":
        return _bad_request("The request has no body; send a JSON object.", "missing_required_parameter", None)
    message = "The body must be a JSON object, sent with the header Content-Type: application/json."
    return _bad_request(message, "invalid_value", None)


def _depth(place: str) -> int:
    return place.count(".") + place.count("[")


def _place(error: Mapping[str, Any], body: Any) -> str:
    """Dotted path of the field that an error is about, as the client wrote it: `messages[0].content`.

    pydantic puts the names of union branches between the keys; walking the body tells them apart.
    """
    origin, *steps = error["loc"]
    if origin != "body":
        return str(steps[0]) if steps else ""
    path, here = "", body
    for n, step in enumerate(steps):
        last = n == len(steps) - 1
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            path, here = f"{path}[{step}]", here[step]
        elif isinstance(here, dict) and (step in here or (last and error["type"] == "missing")):
            path, here = f"{path}.{step}" if path else str(step), here.get(step)
    return path


def _sentence(told: Sequence[Mapping[str, Any]], param: str) -> tuple[str, str]:
    kinds = {error["type"] for error in told}
    if "missing" in kinds:
        return f"Missing required parameter: '{param}'.", "missing_required_parameter"
    if "extra_forbidden" in kinds:
        return f"Unknown parameter: '{param}'. Take it out or check its spelling.", "unknown_parameter"
    reasons = dict.fromkeys(str(error["msg"]).removeprefix("Value error, ") for error in told)
    return f"Invalid value for '{param}': {'; or '.join(list(reasons)[:3])}.", "invalid_value"


# rendering ---------------------------------------------------------------------------------------


def request_id_of(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def failure_of(exc: BaseException, request_id: str) -> Failure:
    """`describe`, and a log line for what the operator must see: bugs with traceback, outages without."""
    failure = describe(exc, request_id)
    if failure.code == "internal_error":
        log.error("request %s failed", request_id, exc_info=exc)
    elif failure.status >= 500:
        log.warning("request %s: %s: %s", request_id, failure.code, failure.message)
    return failure


async def on_framework_error(request: Request, exc: Exception) -> Response:
    """Handler for the errors that FastAPI and Starlette raise: validation, unknown routes and methods."""
    return failure_of(exc, request_id_of(request.scope)).response()


class ErrorMiddleware:
    """Renders every exception that reaches it. After the response began it closes the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except ClientDisconnect:
            log.info("request %s: the client went away", request_id_of(scope))
        except Exception as exc:  # the renderer of errors before the first byte
            failure = failure_of(exc, request_id_of(scope))
            if started:
                raise
            await failure.response()(scope, receive, send)


async def told_failures(
    events: AsyncIterator[bytes], request_id: str, event: Callable[[Mapping[str, Any]], bytes]
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; a failure among them becomes an event itself, the last one."""
    try:
        async for item in events:
            yield item
    except Exception as exc:  # noqa: BLE001 - the renderer of errors after the first byte
        yield event(failure_of(exc, request_id).body)
