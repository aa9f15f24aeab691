"""The error tree. Every failure a caller can meet is one of these; none of them knows HTTP.

TensorasError
├── InvalidRequest            the caller must change the request
│   └── ContextLengthExceeded
├── NotFound                  no such thing, or it belongs to another tenant
├── Conflict                  it exists already, or it is busy
├── DocumentError             one document cannot be ingested; `code` says why
├── Unavailable               a part that we depend on is away (retryable)
│   ├── VectorStoreUnavailable
│   ├── EngineUnavailable
│   ├── ModelUnavailable
│   └── DeadlineExceeded
├── EngineOverloaded          refused before work began (retryable)
├── EngineError               the engine broke its own contract
└── ConfigurationError        the operator must change the configuration
    ├── MissingExtra          an optional package is not installed
    └── IndexMismatch         a collection was built with another model or encoder
"""

from __future__ import annotations


class TensorasError(Exception):
    """Base of the tree. `message` says what happened and what to do next."""

    code: str = "internal_error"
    retryable: bool = False

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(TensorasError):
    code = "invalid_value"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class NotFound(TensorasError):
    code = "not_found"


class Conflict(TensorasError):
    code = "conflict"


class DocumentError(TensorasError):
    """A document cannot be ingested. `code` is one of API.md's document error codes:

    empty_document, needs_password, needs_ocr, corrupt_document, unsupported_document, too_large,
    parse_timeout, parse_out_of_memory, parse_crashed.
    """

    code = "corrupt_document"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code)


class Unavailable(TensorasError):
    """A dependency is away. `retry_after` is in seconds."""

    code = "unavailable"
    retryable = True

    def __init__(self, message: str, *, code: str | None = None, retry_after: float = 2.0) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class VectorStoreUnavailable(Unavailable):
    code = "vector_store_unavailable"


class EngineUnavailable(Unavailable):
    code = "engine_unavailable"


class ModelUnavailable(Unavailable):
    code = "model_loading"


class DeadlineExceeded(Unavailable):
    code = "timeout"


class EngineOverloaded(TensorasError):
    code = "engine_overloaded"
    retryable = True

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineError(TensorasError):
    code = "engine_error"


class ConfigurationError(TensorasError):
    code = "configuration_error"


class MissingExtra(ConfigurationError):
    code = "missing_extra"


class IndexMismatch(ConfigurationError):
    code = "index_mismatch"
