"""A parsed document as bytes between the parser process and its parent.

The parser process has touched hostile input, so nothing it says is trusted: the bytes are JSON, never
pickle, and every value is checked for type and range before it becomes part of a ParsedDocument.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import orjson

from ingestion.parse.elements import Block, BlockKind, PageOutcome, ParsedDocument
from rag.errors import DocumentError

MAX_FRAME = 512 * 1024 * 1024
LENGTH_BYTES = 4
ERROR_CODES = frozenset(
    [
        "empty_document",
        "needs_password",
        "needs_ocr",
        "corrupt_document",
        "unsupported_document",
        "too_large",
        "parse_timeout",
        "parse_out_of_memory",
        "parse_crashed",
    ]
)
_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
_OUTCOMES: tuple[PageOutcome, ...] = get_args(PageOutcome)
_MAX_MESSAGE = 1000


def encode_document(document: ParsedDocument) -> bytes:
    """Heading paths are sent once each, blocks point to them."""
    paths: dict[tuple[str, ...], int] = {}
    blocks = [
        (_KINDS.index(item.kind), item.start, item.end, paths.setdefault(item.headings, len(paths)))
        for item in document.blocks
    ]
    return orjson.dumps(
        {
            "text": document.text,
            "blocks": blocks,
            "paths": list(paths),
            "pages": document.pages,
            "outcomes": [_OUTCOMES.index(item) for item in document.page_outcomes],
            "content_type": document.content_type,
            "title": document.title,
        }
    )


def encode_error(error: DocumentError) -> bytes:
    return orjson.dumps({"error": [error.code, error.message[:_MAX_MESSAGE]]})


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def decode_result(payload: bytes) -> ParsedDocument:
    """Raises the DocumentError that was sent, or parse_crashed for bytes that are no valid result."""
    try:
        value = orjson.loads(payload)
        if "error" in value:
            code, message = value["error"]
            _check(code in ERROR_CODES and isinstance(message, str))
            raise DocumentError(code, message[:_MAX_MESSAGE])
        return _document(value)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise DocumentError(
            "parse_crashed",
            "The parser gave an invalid result for this document. Save it in another format and upload that.",
        ) from error


def _document(value: dict[str, Any]) -> ParsedDocument:
    text, title, content_type = value["text"], value["title"], value["content_type"]
    _check(isinstance(text, str) and "\0" not in text)
    _check(isinstance(content_type, str) and isinstance(title, str | None))
    paths = [_strings(path) for path in value["paths"]]
    blocks = tuple(
        Block(_KINDS[_index(kind)], start, end, paths[_index(path)]) for kind, start, end, path in value["blocks"]
    )
    _check_spans(blocks, len(text))
    pages = tuple((offset, number) for offset, number in value["pages"])
    outcomes = tuple(_OUTCOMES[_index(item)] for item in value["outcomes"])
    _check(len(pages) == len(outcomes))
    _check_pages(pages, len(text))
    return ParsedDocument(text, blocks, pages, outcomes, content_type, title)


def _check_spans(blocks: Sequence[Block], length: int) -> None:
    _check(bool(blocks))
    end = 0
    for block in blocks:
        _check(type(block.start) is int and type(block.end) is int)
        _check(end <= block.start < block.end <= length)
        end = block.end


def _check_pages(pages: Sequence[tuple[int, int]], length: int) -> None:
    for offset, number in pages:
        _check(type(offset) is int and type(number) is int and 0 <= offset <= length and number > 0)
    for (before, first), (after, second) in pairwise(pages):
        _check(before <= after and first < second)


def _strings(values: Any) -> tuple[str, ...]:
    _check(isinstance(values, list) and all(isinstance(item, str) for item in values))
    return tuple(values)


def _index(value: Any) -> int:
    _check(type(value) is int and value >= 0)
    return int(value)


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("a value is out of range")
