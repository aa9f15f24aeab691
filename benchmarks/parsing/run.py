"""How much of real documents the parsers recover: `python benchmarks/parsing/run.py --corpus FOLDER`.

The folder holds a `manifest.tsv` (file, format, expect, phrase, page, …). A phrase counts as found when it
stands in the text after NFKC and whitespace folding; cell borders (`|`, and the delimiters of a CSV file) count
as whitespace.
Ends with status 1 where a floor is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
import time
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from ingestion.parse.elements import ParsedDocument
from ingestion.parse.sandbox import ParserPool
from rag.errors import DocumentError

PHRASE_FLOOR = 0.97
PAGE_FLOOR = 0.97
ORDER = ["pdf", "docx", "pptx", "xlsx", "html", "md", "csv", "txt", "json", "xml", "eml"]
REFUSALS = {
    "pw": {"needs_password"},
    "ocr": {"needs_ocr"},
    "bad": {
        *("empty_document", "needs_password", "corrupt_document", "unsupported_document", "too_large"),
        *("parse_timeout", "parse_out_of_memory"),
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    file: str
    format: str
    expect: str
    seconds: float
    code: str | None
    phrase: bool | None = None
    page: bool | None = None
    note: str = ""


def fold(text: str, *, cells: bool = False) -> str:
    text = unicodedata.normalize("NFKC", text).replace("|", " ")
    if cells:
        text = text.translate(str.maketrans(",;\t", "   "))
    return " ".join(text.split())


async def measure(pool: ParserPool, folder: Path, row: dict[str, str]) -> Outcome:
    started = time.perf_counter()
    document: ParsedDocument | None = None
    code = None
    try:
        document = await pool.parse(folder / row["file"], row["file"])
    except DocumentError as error:
        code = error.code
    seconds = time.perf_counter() - started
    if document is None:
        return judge_refusal(row, seconds, code or "")
    return judge_text(row, seconds, document)


def judge_refusal(row: dict[str, str], seconds: float, code: str) -> Outcome:
    fine = row["expect"] == "any" or code in REFUSALS.get(row["expect"], ())
    note = "" if fine else f"refused as {code}"
    phrase = False if row["expect"] == "text" else None
    return Outcome(row["file"], row["format"], row["expect"], seconds, code, phrase, note=note)


def judge_text(row: dict[str, str], seconds: float, document: ParsedDocument) -> Outcome:
    expect, note = row["expect"], ""
    phrase = page = None
    if not document.text.strip():
        note = "SILENT EMPTY SUCCESS"
    elif expect in {"pw", "bad"}:
        note = f"expected a refusal, got {len(document.text)} characters"
    if row["phrase"] and expect in {"text", "ocr"}:
        cells = document.content_type == "text/csv"
        wanted = fold(row["phrase"], cells=cells)
        phrase = wanted in fold(document.text, cells=cells)
        note = note or ("" if phrase else f"not found: {row['phrase']}")
        if phrase and row["page"] and document.pages:
            pages = pages_with(document, wanted)
            page = int(row["page"]) in pages
            note = note or ("" if page else f"on page {pages}, not {row['page']}")
    return Outcome(row["file"], row["format"], expect, seconds, None, phrase, page, note)


def pages_with(document: ParsedDocument, wanted: str) -> list[int]:
    """Pages whose blocks hold the phrase, by the same lookup that a citation uses."""
    starts = [offset for offset, _ in document.pages]
    texts: dict[int, list[str]] = defaultdict(list)
    for block in document.blocks:
        number = document.pages[bisect_right(starts, block.start) - 1][1]
        texts[number].append(document.text[block.start : block.end])
    return [number for number, parts in texts.items() if wanted in fold("\n".join(parts))]


def report(outcomes: list[Outcome]) -> bool:
    by_format: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_format[outcome.format].append(outcome)
    order = sorted(by_format, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))
    print(f"{'format':8} {'files':>5} {'phrases':>9} {'pages':>7} {'refused':>8} {'seconds':>8}")
    for name in [*order, "all"]:
        line(name, outcomes if name == "all" else by_format[name])
    print()
    for outcome in outcomes:
        if outcome.note:
            print(f"{outcome.file} [{outcome.expect}] {outcome.note}")
    phrases = share([o.phrase for o in outcomes if o.expect == "text"])
    pages = share([o.page for o in outcomes if o.expect == "text"])
    silent = any(o.note.startswith("SILENT") for o in outcomes)
    print(f"\nphrases {phrases:.1%} (floor {PHRASE_FLOOR:.0%}), pages {pages:.1%} (floor {PAGE_FLOOR:.0%})")
    return phrases >= PHRASE_FLOOR and pages >= PAGE_FLOOR and not silent


def line(name: str, outcomes: list[Outcome]) -> None:
    phrases = [o.phrase for o in outcomes if o.expect == "text" and o.phrase is not None]
    pages = [o.page for o in outcomes if o.expect == "text" and o.page is not None]
    refused = sum(o.code is not None for o in outcomes)
    seconds = sum(o.seconds for o in outcomes)
    print(
        f"{name:8} {len(outcomes):5} {f'{sum(phrases)}/{len(phrases)}':>9} "
        f"{f'{sum(pages)}/{len(pages)}':>7} {refused:8} {seconds:8.2f}"
    )


def share(values: list[bool | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 1.0


async def run(folder: Path) -> bool:
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pool = ParserPool()
    try:
        await pool.start()
        outcomes = [await measure(pool, folder, row) for row in rows]
    finally:
        await pool.close()
    return report(outcomes)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = Path(__file__).resolve().parents[2].parent / "shared" / "corpora" / "documents"
    arguments.add_argument("--corpus", type=Path, default=default, help="folder with a manifest.tsv")
    sys.exit(0 if asyncio.run(run(arguments.parse_args().corpus)) else 1)


if __name__ == "__main__":
    main()
