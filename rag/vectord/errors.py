"""Refusals as Qdrant words them: an HTTP status and the text of `status.error`.

    RestError
    ├── BadInput        400  "Wrong input: …"        a value that does not fit the collection
    ├── BadRequest      400  "Bad request: …"        strict mode, a missing index, an unsupported field
    ├── BadJson         400  "Format error in JSON body: …"
    ├── Unauthorized    401
    ├── NotFound        404  "Not found: …"
    ├── TimedOut        408  "Timeout: …"
    ├── AlreadyExists   409  "Wrong input: …"
    ├── TooLarge        413
    ├── WrongMedia      415
    ├── OutOfRange      422  "Validation error in JSON body: …"
    ├── Overloaded      429  with Retry-After
    ├── EngineFault     500  "Service internal error: …"
    ├── Unavailable     503
    └── DiskFull        507

These know HTTP because this package is an HTTP server; the rest of `rag` never sees them.
"""

from __future__ import annotations


class RestError(Exception):
    """Base of the tree. `text` is what the client reads."""

    status = 500
    prefix = ""

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        self.text = f"{self.prefix}{message}"
        self.retry_after = retry_after
        super().__init__(self.text)


class BadInput(RestError):
    status = 400
    prefix = "Wrong input: "


class BadRequest(RestError):
    status = 400
    prefix = "Bad request: "


class BadJson(RestError):
    status = 400
    prefix = "Format error in JSON body: "


class Unauthorized(RestError):
    status = 401


class NotFound(RestError):
    status = 404
    prefix = "Not found: "


class TimedOut(RestError):
    status = 408
    prefix = "Timeout: "


class AlreadyExists(RestError):
    status = 409
    prefix = "Wrong input: "


class TooLarge(RestError):
    status = 413


class WrongMedia(RestError):
    status = 415


class OutOfRange(RestError):
    status = 422
    prefix = "Validation error in JSON body: "


class Overloaded(RestError):
    status = 429

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


class EngineFault(RestError):
    status = 500
    prefix = "Service internal error: "


class Unavailable(RestError):
    status = 503


class DiskFull(RestError):
    status = 507


def unsupported(field: str, hint: str = "leave it out, or set QDRANT_URL to a Qdrant server") -> BadRequest:
    """The refusal of a part of Qdrant's API that the embedded store does not have. Names the field."""
    return BadRequest(f"`{field}` is not supported by the embedded vector store: {hint}")


def no_collection(name: str) -> NotFound:
    return NotFound(f"Collection `{name}` doesn't exist!")
