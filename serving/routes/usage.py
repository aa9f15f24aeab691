"""GET /v1/usage."""

from __future__ import annotations

import datetime
from typing import Annotated

from fastapi import Query

from serving.routes.deps import Admin, Cursor, Running, Words, new_router
from serving.wire.keys import UsageList, UsageObject

router = new_router("Usage", "/usage")
Day = Annotated[datetime.date | None, Query(description="ISO date, UTC, included.")]


@router.get("")
async def usage(
    principal: Admin,
    services: Running,
    start: Day = None,
    end: Day = None,
    key_id: Cursor = None,
    model: Words = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> UsageList:
    """Tokens and requests of the tenant per key, model and day, newest day first."""
    rows = await services.ledger.usage.rows(
        principal.tenant_id,
        start=start.isoformat() if start else None,
        end=end.isoformat() if end else None,
        key_id=key_id,
        model=model,
        limit=limit,
    )
    return UsageList(data=[UsageObject.of(row) for row in rows])
