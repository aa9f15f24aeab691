"""How many questions about the example handbook a chat model answers, by prompt style and number of passages.

Needs a running server with the handbook, as `make quickstart` leaves it. The passages come from its search;
the prompt is built here and sent as a plain chat, greedily. An answer is right when it holds the expected
words, or every number of them that the question does not hold itself. From the repository root:

    python benchmarks/quality/smollm2_prompt.py --key-file .tensoras/bootstrap.key
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from pathlib import Path
from typing import Any, get_args

import httpx

from rag.prompt import Layout, Style, build
from rag.rewrite import search_query
from rag.testing import ScriptedGenerator
from rag.types import Message, Passage

QUESTIONS = Path(__file__).parents[2] / "examples" / "handbook" / "questions.jsonl"
COUNTS = (1, 2, 5)
_NUMBER = re.compile(r"[^\W\d_]*-?\d[\w.:-]*")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    given = parser.parse_args()
    asyncio.run(compare(given.url, given.key_file.read_text(encoding="utf-8").strip(), given.model))


async def compare(url: str, key: str, model: str) -> None:
    """One line per style and number of passages, on standard output."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    asked = [row for row in rows if row["fact"]]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as client:
        base = _checked(await client.get("/knowledge-bases"))["data"][0]["id"]
        found = [await _search(client, base, row) for row in asked]
        for style in get_args(Style):
            for count in COUNTS:
                slots = asyncio.Semaphore(4)
                answers = await asyncio.gather(
                    *(
                        _ask(client, slots, model, row, passages[:count], style)
                        for row, passages in zip(asked, found, strict=True)
                    )
                )
                right = [row["id"] for row, (said, _) in zip(asked, answers, strict=True) if is_right(row, said)]
                size = sum(tokens for _, tokens in answers) / len(answers)
                print(
                    f"{style:6} {count} passages: {len(right):2} of {len(asked)}, {size:.0f} prompt tokens", flush=True
                )


def is_right(row: dict[str, Any], said: str) -> bool:
    """Whether `said` holds the fact, or all numbers of it that are not in the question anyway."""
    fact, said = row["fact"].casefold(), " ".join(said.split()).casefold()
    numbers = set(_NUMBER.findall(fact)) - set(_NUMBER.findall(row["question"].casefold()))
    spoken = {number.rstrip(".:-") for number in _NUMBER.findall(said)}
    return fact in said or (bool(numbers) and numbers <= spoken)


def _messages(row: dict[str, Any]) -> list[Message]:
    turns = [*row.get("history", []), {"role": "user", "content": row["question"]}]
    return [Message(turn["role"], turn["content"]) for turn in turns]


async def _search(client: httpx.AsyncClient, base: str, row: dict[str, Any]) -> list[Passage]:
    body = {"query": search_query(_messages(row), rewrite=True), "top_k": max(COUNTS)}
    found = _checked(await client.post(f"/knowledge-bases/{base}/retrieve", json=body))["results"]
    return [
        Passage(hit["chunk_id"], hit["document_id"], base, hit["source"], hit["text"], hit["start"], hit["end"])
        for hit in found
    ]


async def _ask(
    client: httpx.AsyncClient,
    slots: asyncio.Semaphore,
    model: str,
    row: dict[str, Any],
    passages: list[Passage],
    style: Style,
) -> tuple[str, int]:
    """The answer and its prompt's tokens."""
    counter = ScriptedGenerator([], context=10**6)
    built = await build(_messages(row), passages, counter, {}, layout=Layout(style, markers=False))
    messages = [{"role": message.role, "content": message.text} for message in built.messages]
    async with slots:
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 80}
        answer = _checked(await client.post("/chat/completions", json=body))
    return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]


def _checked(response: httpx.Response) -> Any:
    if response.is_error:
        raise SystemExit(f"{response.request.url} answered {response.status_code}: {response.text[:300]}")
    return response.json()


if __name__ == "__main__":
    main()
