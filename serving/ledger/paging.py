"""Cursor pages over a table whose ids sort in the order of their making.

A cursor is compared, not looked up: a client that deletes while it pages goes on where it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, Select, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from ingestion.ids import new_id
from ingestion.records import Page
from rag.errors import InvalidRequest

_ID = re.compile(r"(?:file-|key_)(?:[0-9a-f]{24}|bootstrap)")


def new_file_id() -> str:
    return "file-" + new_id("file").removeprefix("file_")


def made_at(file_id: str) -> int:
    """Unix seconds at which an id was made, so that a list by id is also a list by time."""
    return int(file_id.removeprefix("file-")[:13], 16) // 1_000_000


def _cursor(name: str, value: str) -> str:
    if not _ID.fullmatch(value):
        raise InvalidRequest(
            f"'{name}' must be an id of this list; use last_id or first_id of the last page.", param=name
        )
    return value


async def read_page(
    connection: AsyncConnection, query: Select[Any], table: Table, page: Page
) -> tuple[Sequence[RowMapping], bool]:
    """The rows of `page`, in its order, and whether more follow in the direction that was walked.

    With `before` alone the walk goes backwards: the rows nearest to the cursor are given.
    """
    backwards = page.before is not None and page.after is None
    ascending = page.order == "asc"
    row_id = table.c.id
    if page.after is not None:
        after = _cursor("after", page.after)
        query = query.where(row_id > after if ascending else row_id < after)
    if page.before is not None:
        before = _cursor("before", page.before)
        query = query.where(row_id < before if ascending else row_id > before)
    order = row_id.asc() if ascending != backwards else row_id.desc()
    rows = (await connection.execute(query.order_by(order).limit(page.limit + 1))).mappings().all()
    kept = list(rows[: page.limit])
    return (kept[::-1] if backwards else kept), len(rows) > page.limit
