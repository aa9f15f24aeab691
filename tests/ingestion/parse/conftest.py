"""Small builders of documents, and the folder of real ones."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3].parent / "shared" / "corpora" / "documents"

Maker = Callable[[str, bytes | str], Path]
ZipMaker = Callable[[str, Mapping[str, bytes | str]], Path]


@pytest.fixture
def corpus() -> Path:
    return CORPUS


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Writes one file; text becomes UTF-8."""

    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def make_zip(tmp_path: Path) -> ZipMaker:
    """Writes a zip of named parts, deflated."""

    def write(name: str, parts: Mapping[str, bytes | str]) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for part, content in parts.items():
                archive.writestr(part, content)
        return path

    return write
