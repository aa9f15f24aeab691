"""What the gateway's callers may say: names, metadata and chunking, bounded. Pure; raises InvalidRequest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from ingestion.chunk import chunk
from ingestion.parse.elements import ParsedDocument
from ingestion.records import JSON, ChunkingStrategy, ChunkingType, DocumentStatus, JobStatus, Upload
from rag.errors import InvalidRequest

JOB_STATUSES: tuple[str, ...] = get_args(JobStatus)
DOCUMENT_STATUSES: tuple[str, ...] = get_args(DocumentStatus)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NUL_OR_LONE = re.compile("[\x00\ud800-\udfff]")
_MOST_UPLOADS = 10_000
_METADATA_BYTES = 16_384
_METADATA_DEPTH = 5
_LARGEST_NUMBER = 2**63


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {message}", param=param)


def name(value: str, param: str = "name", *, most: int = 256) -> str:
    """A name in one line, without white space around it."""
    stripped = value.strip()
    if not stripped or len(stripped) > most:
        raise _wrong(param, f"must have between 1 and {most} characters")
    if _CONTROL.search(stripped):
        raise _wrong(param, "must not hold control characters or line breaks")
    return stripped


def text(value: str, param: str, *, most: int) -> str:
    if len(value) > most:
        raise _wrong(param, f"must have at most {most} characters")
    if _NUL_OR_LONE.search(value):
        raise _wrong(param, "must not hold NUL characters or lone surrogates")
    return value


def json_object(value: JSON, param: str) -> dict[str, Any]:
    """A copy of a JSON object of at most 16 KiB and five levels."""
    if not isinstance(value, Mapping):
        raise _wrong(param, "must be an object")
    _check_json(value, param, _METADATA_DEPTH)
    copy = dict(value)
    if len(json.dumps(copy, ensure_ascii=False).encode()) > _METADATA_BYTES:
        raise _wrong(param, f"must be at most {_METADATA_BYTES} bytes of JSON")
    return copy


def _check_json(value: Any, param: str, depth: int) -> None:
    if depth < 0:
        raise _wrong(param, f"must be nested at most {_METADATA_DEPTH} deep")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _wrong(param, "must have strings as keys")
            text(key, param, most=256)
            _check_json(inner, param, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_json(inner, param, depth - 1)
    elif isinstance(value, str):
        text(value, param, most=_METADATA_BYTES)
    else:
        _check_scalar(value, param)


def _check_scalar(value: Any, param: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, int | float) or not -_LARGEST_NUMBER <= value < _LARGEST_NUMBER:
        raise _wrong(param, "may hold strings, finite numbers of 64 bits, booleans, null, arrays and objects")


def one_of(value: str | None, param: str, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise _wrong(param, f"must be one of {', '.join(allowed)}")


def embedding_model(wanted: str | None, models: Mapping[str, int]) -> str:
    """The model named, or the server's. No other one can be asked for: the vectors would fit nothing."""
    if wanted is None:
        return next(iter(models))
    if wanted not in models:
        raise _wrong("embedding_model", f"must be one of {', '.join(models)}; leave it out for the default")
    return wanted


def chunking(wanted: ChunkingStrategy | None, max_tokens: int) -> ChunkingStrategy:
    """The strategy asked for, checked against what the model reads; or the default, lowered to that."""
    if wanted is None:
        default = ChunkingStrategy()
        size = min(default.chunk_size, max_tokens)
        return replace(default, chunk_size=size, chunk_overlap=ChunkingStrategy.usual_overlap(size))
    one_of(wanted.type, "chunking_strategy.type", get_args(ChunkingType))
    if wanted.type == "hierarchical" and wanted.parent_chunk_size is None:
        wanted = replace(wanted, parent_chunk_size=max(2048, wanted.chunk_size))
    _check_sizes(wanted, max_tokens)
    chunk(ParsedDocument("", ()), wanted, lambda _: ())  # refuses a strategy that does not exist yet
    return wanted


def _check_sizes(wanted: ChunkingStrategy, max_tokens: int) -> None:
    size, overlap, parent = wanted.chunk_size, wanted.chunk_overlap, wanted.parent_chunk_size
    if not 1 <= size <= max_tokens:
        raise _wrong(
            "chunking_strategy.chunk_size",
            f"must be between 1 and {max_tokens}, which is what the embedding model reads (in its tokens)",
        )
    if not 0 <= overlap < size:
        raise _wrong("chunking_strategy.chunk_overlap", f"must be at least 0 and less than chunk_size ({size})")
    if parent is not None and wanted.type != "hierarchical":
        raise _wrong("chunking_strategy.parent_chunk_size", "goes with the type 'hierarchical' only")
    if parent is not None and not size <= parent <= 32_768:
        raise _wrong("chunking_strategy.parent_chunk_size", f"must be between chunk_size ({size}) and 32768")


def knowledge_base_changes(changes: JSON) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in changes.items():
        if key == "name":
            checked[key] = name(value)
        elif key == "description":
            checked[key] = text(value, key, most=4096)
        elif key in ("metadata", "defaults"):
            checked[key] = json_object(value, key)
        else:
            raise _wrong(key[:80], "cannot be changed; name, description, metadata and defaults can")
    return checked


def some_uploads(uploads: Sequence[Upload]) -> Sequence[Upload]:
    if not 1 <= len(uploads) <= _MOST_UPLOADS:
        raise _wrong("config.file_ids", f"must name between 1 and {_MOST_UPLOADS} files")
    return uploads


def upload(value: Upload) -> Upload:
    """An upload whose name and metadata can be stored. The name may be odd: it comes from a file system."""
    cleaned = _CONTROL.sub("\ufffd", value.name).strip()[:1024]
    return replace(
        value,
        name=cleaned or "unnamed",
        content_type=_CONTROL.sub("", value.content_type)[:255],
        metadata=json_object(value.metadata, "metadata"),
    )
