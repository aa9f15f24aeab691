"""Plain readers of the example documents, independent of our own parsers: one text per page or file."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pypdfium2

Pages = tuple[str, ...]


def squeeze(text: str) -> str:
    return " ".join(text.split())


def read(name: str, body: bytes) -> Pages:
    """The words of a document, white space folded. PDF and PPTX give one text per page, others one in all."""
    readers = {".pdf": _pdf, ".pptx": _pptx, ".docx": _docx, ".xlsx": _xlsx, ".html": _html}
    reader = readers.get(Path(name).suffix, _plain)
    return tuple(squeeze(page) for page in reader(body))


def _pdf(body: bytes) -> list[str]:
    with pypdfium2.PdfDocument(body) as document:
        return [page.get_textpage().get_text_range() for page in document]


def _pptx(body: bytes) -> list[str]:
    return [_slide(slide) for slide in pptx.Presentation(io.BytesIO(body)).slides]


def _slide(slide: Any) -> str:
    parts = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
    tables = [shape.table for shape in slide.shapes if shape.has_table]
    return "\n".join(parts + [cell.text for table in tables for row in table.rows for cell in row.cells])


def _docx(body: bytes) -> list[str]:
    document = docx.Document(io.BytesIO(body))
    parts = [paragraph.text for paragraph in document.paragraphs]
    parts += [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return ["\n".join(parts)]


def _xlsx(body: bytes) -> list[str]:
    book = openpyxl.load_workbook(io.BytesIO(body))
    rows = [row for sheet in book for row in sheet.iter_rows(values_only=True)]
    return ["\n".join(str(cell) for row in rows for cell in row)]


def _html(body: bytes) -> list[str]:
    return [html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", body.decode()))]


def _plain(body: bytes) -> list[str]:
    return [body.decode()]
