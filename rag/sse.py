"""Server-sent events as OpenAI-compatible engines write them."""

from __future__ import annotations

from collections.abc import AsyncIterator

DONE = "[DONE]"


async def events(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The `data` of each event, by the WHATWG rules that matter here: several data lines are joined by a
    newline, comments and other fields are passed over, an event ends at an empty line."""
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data.clear()
    if data:
        yield "\n".join(data)
