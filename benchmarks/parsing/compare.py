"""Our parsers and `unstructured` on the same files: `python benchmarks/parsing/compare.py --corpus FOLDER`.

The folder and what counts as found are those of run.py. Each reads the bare file: what stands between them in the
product (limits, the check for missing words) is left out. `hooks` are those of the product: no download, no report.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.parse.canonical import Canonical
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.registry import parse
from ingestion.parse.unstructured_elements import PartitionFailed, partition, prepare, write_elements
from rag.errors import DocumentError

sys.path.insert(0, str(Path(__file__).parent))
from run import fold

MODULES = {
    **{name: name for name in ("msg", "docx", "pptx", "xlsx", "html", "csv", "json", "xml", "odt", "epub", "rtf")},
    **{name: name for name in ("md", "tsv", "pdf")},
    "eml": "email",
    "txt": "text",
}
# Seconds, not minutes: a whole book tells no more than the other files of its format.
LARGEST = 3_000_000


@dataclass
class Tally:
    files: int = 0
    ours: int = 0
    theirs: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    notes: list[str] = field(default_factory=list)


def by_ours(path: Path) -> ParsedDocument | str:
    try:
        return parse(path, path.name)
    except DocumentError as error:
        return error.code


def by_unstructured(path: Path, module: str) -> ParsedDocument | str:
    out = Canonical()
    options = {"process_attachments": False} if module in {"msg", "email"} else {}
    try:
        write_elements(partition(module, path, **options), out)
    except ImportError as error:
        return f"not installed: {error.name}"
    except PartitionFailed as error:
        return str(error)[:120]
    return "NO ELEMENTS" if out.empty else out.build("text/plain")


def judge(row: dict[str, str], folder: Path, tally: Tally) -> None:
    path = folder / row["file"]
    ours, ours_seconds = timed(lambda: by_ours(path))
    theirs, seconds = timed(lambda: by_unstructured(path, MODULES[path.suffix[1:]]))
    tally.files += 1
    tally.seconds = (tally.seconds[0] + ours_seconds, tally.seconds[1] + seconds)
    for name, result in (("ours", ours), ("unstructured", theirs)):
        found = isinstance(result, ParsedDocument) and wanted(row, result)
        tally.ours += found and name == "ours"
        tally.theirs += found and name != "ours"
        if not found:
            why = result if isinstance(result, str) else "phrase not found"
            tally.notes.append(f"{name:12} {row['file']}: {why} ({row['special']})")


def wanted(row: dict[str, str], document: ParsedDocument) -> bool:
    cells = row["format"] == "csv"
    return fold(row["phrase"], cells=cells) in fold(document.text, cells=cells)


def timed(call: Callable[[], ParsedDocument | str]) -> tuple[ParsedDocument | str, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = Path(__file__).resolve().parents[2].parent / "shared" / "corpora" / "documents"
    arguments.add_argument("--corpus", type=Path, default=default, help="folder with a manifest.tsv")
    arguments.add_argument("--formats", nargs="*", default=sorted(set(MODULES) - {"pdf"}), help="file name endings")
    options = arguments.parse_args()
    sys.modules["torch"] = None  # type: ignore[assignment]  # as in a parser process
    _, seconds = timed(lambda: prepare() or "")
    print(f"import of unstructured: {seconds:.1f} s")
    with (options.corpus / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["expect"] == "text"]
    tallies: dict[str, Tally] = {}
    for row in rows:
        path = options.corpus / row["file"]
        # A name that lies is for our detection; told the wrong format, the library cannot be right.
        lies = "wrong extension" in row["special"]
        if not lies and path.suffix[1:] in options.formats and path.stat().st_size <= LARGEST:
            judge(row, options.corpus, tallies.setdefault(path.suffix[1:], Tally()))
    print(f"{'ending':8} {'files':>5} {'ours':>5} {'unstructured':>13} {'seconds: ours':>14} {'unstructured':>13}")
    for ending, tally in sorted(tallies.items()):
        ours, theirs = tally.seconds
        print(f"{ending:8} {tally.files:5} {tally.ours:5} {tally.theirs:13} {ours:14.2f} {theirs:13.2f}")
    print("\n" + "\n".join(note for tally in tallies.values() for note in tally.notes))


if __name__ == "__main__":
    main()
