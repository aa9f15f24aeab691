"""Types and constants that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ingestion.parse.elements import ParsedDocument
from rag.errors import DocumentError

CORPUS = Path(__file__).resolve().parents[3].parent / "shared" / "corpora" / "documents"

Maker = Callable[[str, bytes | str], Path]
ZipMaker = Callable[[str, Mapping[str, bytes | str]], Path]

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "lollollollol">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


def refusal(function: Callable[..., object], *arguments: object) -> str:
    """The code of the DocumentError that a call raises; its message must be a sentence."""
    with pytest.raises(DocumentError) as refused:
        function(*arguments)
    assert refused.value.message.endswith(".")
    return refused.value.code


def kinds(document: ParsedDocument) -> list[tuple[str, str]]:
    """(kind, text) of each block."""
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def pdf_bytes(pages: list[bytes | None], *, missing: frozenset[int] = frozenset()) -> bytes:
    """A PDF by hand: one content stream per page, None for a page without any; `missing` page objects are left out."""
    kids = " ".join(f"{10 + 2 * at} 0 R" for at in range(len(pages)))
    objects: dict[int, bytes] = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }
    for at, content in enumerate(pages):
        if at in missing:
            continue
        number = 10 + 2 * at
        contents = "" if content is None else f"/Contents {number + 1} 0 R"
        objects[number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> {contents} >>"
        ).encode()
        if content is not None:
            objects[number + 1] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)
    out = b"%PDF-1.7\n"
    offsets: dict[int, int] = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    top = max(objects) + 2
    out += b"xref\n0 %d\n0000000000 65535 f \n" % top
    for number in range(1, top):
        out += b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 65535 f \n"
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (top, start)


def show(text: str, *, size: int = 12, x: int = 72, y: int = 700) -> bytes:
    """A content stream piece that writes one line."""
    return f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n".encode("latin-1")
