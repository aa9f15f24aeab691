"""Pages of rows, and what all modules of the catalog say alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Select
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.ids import check_cursor
from ingestion.records import Listing, Page, Problem
from rag.errors import Conflict, InvalidRequest, NotFound

T = TypeVar("T")
OPEN = ("queued", "processing")
"""Statuses of jobs and items that are not at their end."""


def now() -> int:
    return int(time.time())


def not_found(what: str, identifier: str) -> NotFound:
    code = what.replace(" ", "_") + "_not_found"
    return NotFound(f"no {what} has the id {identifier[:80]!r}; list them to see which exist", code=code)


def being_deleted(what: str, identifier: str) -> Conflict:
    return Conflict(f"the {what} {identifier} is being deleted; nothing can be added to it", code="knowledge_base_busy")


def problem(row: RowMapping) -> Problem | None:
    return Problem(row["error_code"], row["error_message"] or "") if row["error_code"] else None


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`: databases bound the number of parameters of one statement."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch


async def page_of(
    connection: AsyncConnection, query: Select[Any], key: ColumnElement[str], prefix: str, page: Page
) -> tuple[Sequence[RowMapping], bool]:
    """The rows of one page and whether more follow. `before` alone pages backwards, nearest rows first
    found."""
    if not 1 <= page.limit <= 100:
        raise InvalidRequest("'limit' must be between 1 and 100", param="limit")
    down = page.order == "desc"
    if page.after:
        after = check_cursor(prefix, page.after, "after")
        query = query.where(key < after if down else key > after)
    if page.before:
        before = check_cursor(prefix, page.before, "before")
        query = query.where(key > before if down else key < before)
    backwards = bool(page.before and not page.after)
    query = query.order_by(key.desc() if down != backwards else key.asc()).limit(page.limit + 1)
    rows = (await connection.execute(query)).mappings().all()
    shown = rows[: page.limit]
    return (shown[::-1] if backwards else shown), len(rows) > page.limit


async def listing(
    connection: AsyncConnection,
    query: Select[Any],
    key: ColumnElement[str],
    prefix: str,
    page: Page,
    make: Callable[[RowMapping], T],
) -> Listing[T]:
    rows, has_more = await page_of(connection, query, key, prefix, page)
    return Listing(tuple(make(row) for row in rows), has_more)
