"""Plain text in any encoding: paragraphs are what blank lines divide."""

from __future__ import annotations

import re
from pathlib import Path

from ingestion.parse.canonical import Canonical
from ingestion.parse.decode import decode
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import TEXT
from rag.errors import DocumentError

_BLANK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")


def parse_text(path: Path) -> ParsedDocument:
    """One document from a text file."""
    out = Canonical()
    write_text(read_text(path), out)
    return out.build(TEXT)


def read_text(path: Path) -> str:
    """The file's text with `\\n` line ends. Raises DocumentError unsupported_document where it is not
    text."""
    text = decode(path.read_bytes())
    if text is None:
        raise DocumentError(
            "unsupported_document",
            "The file is in no known text encoding. Save it as UTF-8 and upload it again.",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(text: str, out: Canonical) -> None:
    for paragraph in _BLANK.split(text.replace("\f", "\n\n")):
        out.block("paragraph", paragraph)
