"""House rules that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rag", "ingestion", "serving")
COMPOSITION_ROOTS = {"serving/main.py", "ingestion/worker.py"}
QDRANT_CLIENTS = {"rag/qdrant.py", "rag/filters.py", "rag/bm25.py"}


def sources() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def test_only_composition_roots_ask_whether_a_part_is_embedded() -> None:
    asking = re.compile(r"^\s*(?:el)?if\b.*\bembedded\b", re.MULTILINE)
    assert asking.search("    if settings.embedded:\n")
    assert [name for name, text in sources() if asking.search(text) and name not in COMPOSITION_ROOTS] == []


def test_only_the_store_speaks_to_vectors() -> None:
    importing = re.compile(r"^\s*(?:from|import) qdrant_client\b", re.MULTILINE)
    found = {name for name, text in sources() if importing.search(text) and "/vectord/" not in name}
    assert found == QDRANT_CLIENTS


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_stay_short(package: str) -> None:
    long = []
    for name, text in sources():
        if not name.startswith(package) or "/migrations/" in name:
            continue
        if text.count("\n") > 500:
            long.append(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > 60:
                    long.append(f"{name}:{node.lineno} {node.name} has {size} lines")
    assert long == []
