"""A real worker process (Celery, signals, threads, database) around doubles of the heavy parts.

A file that says "slow" is parsed for as long as there is a file `hold` in the folder given.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import ingestion.parse.sandbox
import ingestion.worker
import rag.build
from ingestion.parse.elements import ParsedDocument
from ingestion.sweep import Sweeper
from tests.ingestion.doubles import Faults, FaultyEmbedder, MemoryStore, TextParser

FOLDER = Path(sys.argv[1])


class Embedder(FaultyEmbedder):
    def close(self) -> None:
        print("embedder closed", flush=True)


class Store(MemoryStore):
    async def close(self) -> None:
        print("store closed", flush=True)


class Parser(TextParser):
    def __init__(self, **_: Any) -> None:
        super().__init__(Faults())

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        if b"slow" in path.read_bytes():
            print("parsing slowly", flush=True)
            while (FOLDER / "hold").exists():
                await asyncio.sleep(0.02)
        return await super().parse(path, name)

    async def close(self) -> None:
        print("parser closed", flush=True)


class BreakableSweeper(Sweeper):
    async def sweep(self) -> None:
        if (FOLDER / "break").exists():
            raise RuntimeError("a fault that nobody foresaw")
        await super().sweep()


ingestion.worker.Sweeper = BreakableSweeper  # type: ignore[misc]
rag.build.build_store = lambda *_: Store(Faults())  # type: ignore[assignment, return-value]
ingestion.worker._load_embedder = lambda _: Embedder(Faults())  # type: ignore[assignment, return-value]
ingestion.parse.sandbox.ParserPool = Parser  # type: ignore[assignment, misc]
sys.exit(ingestion.worker.main())
