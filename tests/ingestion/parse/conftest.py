"""Fixtures that write small documents."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.ingestion.parse.builders import Maker, ZipMaker


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
