"""DOCX, PPTX and XLSX. The libraries write the clock into their files; `_fixed` takes it out again."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import datetime
from typing import Any

import docx
import pptx
from docx.shared import Pt as DocxPt
from docx.shared import RGBColor as DocxColor
from handbook_source.blocks import (
    Block,
    Bullets,
    Deck,
    Document,
    Heading,
    PageBreak,
    Sheet,
    Slide,
    Table,
    Text,
    Workbook,
)
from openpyxl import Workbook as ExcelBook
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter
from pptx.util import Inches, Pt

WRITTEN = datetime(2027, 1, 15, 9, 0, 0)  # noqa: DTZ001 - the office libraries want naive UTC
AUTHOR = "Corrowick Sound Ferry Cooperative"
_ZIP_TIME = (2027, 1, 15, 9, 0, 0)
_CLOCK = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*(<)")


def _fixed(package: bytes) -> bytes:
    """The same package with the entries' times and the document's times set to one moment."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(out, "w") as new:
        for name in sorted(old.namelist(), key=lambda n: (n != "[Content_Types].xml", n)):
            body = _CLOCK.sub(rb"\g<1>2027-01-15T09:00:00Z\g<2>", old.read(name))
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, body)
    return out.getvalue()


def _describe(properties: Any, title: str) -> None:
    properties.title = title
    properties.author = AUTHOR
    properties.last_modified_by = AUTHOR
    properties.created = WRITTEN
    properties.modified = WRITTEN


# word ------------------------------------------------------------------------------------------------
def render_docx(document: Document) -> bytes:
    word = docx.Document()
    _describe(word.core_properties, document.title)
    word.core_properties.comments = ""
    word.styles["Normal"].font.name = "Calibri"
    word.styles["Normal"].font.size = DocxPt(11)
    word.add_heading(document.title, 0)
    subtitle = word.add_paragraph().add_run(document.subtitle)
    subtitle.font.color.rgb = DocxColor(0x70, 0x70, 0x70)
    for block in document.blocks:
        _add_to_word(word, block)
    out = io.BytesIO()
    word.save(out)
    return _fixed(out.getvalue())


def _add_to_word(word: Any, block: Block) -> None:
    match block:
        case Heading():
            word.add_heading(block.text, block.level)
        case Text():
            word.add_paragraph(block.text)
        case Bullets():
            for item in block.items:
                word.add_paragraph(item, style="List Number" if block.numbered else "List Bullet")
        case Table():
            _add_table_to_word(word, block)
        case PageBreak():
            word.add_page_break()


def _add_table_to_word(word: Any, block: Table) -> None:
    table = word.add_table(rows=0, cols=len(block.header), style="Light Grid Accent 1")
    for row in (block.header, *block.rows):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    word.add_paragraph()


# slides ----------------------------------------------------------------------------------------------
def render_pptx(deck: Deck) -> bytes:
    slides = pptx.Presentation()
    _describe(slides.core_properties, deck.title)
    cover = slides.slides.add_slide(slides.slide_layouts[0])
    cover.shapes.title.text = deck.title
    cover.placeholders[1].text = deck.subtitle
    for slide in deck.slides:
        _add_slide(slides, slide)
    out = io.BytesIO()
    slides.save(out)
    return _fixed(out.getvalue())


def _add_slide(slides: Any, slide: Slide) -> None:
    tables = [block for block in slide.blocks if isinstance(block, Table)]
    page = slides.slides.add_slide(slides.slide_layouts[5 if tables else 1])
    page.shapes.title.text = slide.title
    for table in tables:
        _add_table_to_slide(page, table)
    if not tables:
        _add_lines_to_slide(page.placeholders[1].text_frame, slide)


def _add_lines_to_slide(frame: Any, slide: Slide) -> None:
    lines = [line for block in slide.blocks for line in _lines(block)]
    frame.text = lines[0]
    for line in lines[1:]:
        frame.add_paragraph().text = line
    for paragraph in frame.paragraphs:
        paragraph.font.size = Pt(24)


def _lines(block: Block) -> tuple[str, ...]:
    match block:
        case Bullets():
            return block.items
        case Heading() | Text():
            return (block.text,)
        case _:
            return ()


def _add_table_to_slide(page: Any, block: Table) -> None:
    rows = (block.header, *block.rows)
    shape = page.shapes.add_table(len(rows), len(block.header), Inches(0.6), Inches(1.8), Inches(8.8), Inches(3))
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            shape.table.cell(y, x).text = text


# sheets ----------------------------------------------------------------------------------------------
def render_xlsx(workbook: Workbook) -> bytes:
    book = ExcelBook()
    del book["Sheet"]
    for sheet in workbook.sheets:
        _add_sheet(book, sheet)
    book.properties.title = workbook.title
    book.properties.creator = AUTHOR
    book.properties.created = WRITTEN
    out = io.BytesIO()
    book.save(out)
    return _fixed(out.getvalue())


def _add_sheet(book: ExcelBook, sheet: Sheet) -> None:
    page = book.create_sheet(sheet.title)
    for row in sheet.rows:
        page.append(row)
    for cell in page[1]:
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = PatternFill("solid", fgColor="2F4F4A")
    for at, column in enumerate(zip(*sheet.rows, strict=True), start=1):
        page.column_dimensions[get_column_letter(at)].width = max(len(str(cell)) for cell in column) + 3
    page.freeze_panes = "A2"
