"""PDF with reportlab. `invariant` fixes the dates and the id of the file."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

from handbook_source.blocks import Block, Bullets, Document, Heading, PageBreak, Table, Text
from reportlab.lib import colors
from reportlab.lib.pagesizes import A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen import canvas
from reportlab.platypus import (
    Flowable,
    ListFlowable,
    ListItem,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
)
from reportlab.platypus import PageBreak as NewPage
from reportlab.platypus import Table as Grid

MARGIN = 15 * mm
RIGHT = A5[0] - MARGIN
TOP = A5[1] - 14 * mm
FRAME_PADDING = 6  # points that reportlab keeps free on each side of a frame

SLATE = colors.HexColor("#2f4f4a")
PALE = colors.HexColor("#e6eeec")
BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=14, spaceAfter=7)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=9, leading=11.5, spaceAfter=0)
HEAD_CELL = ParagraphStyle("head-cell", parent=CELL, fontName="Helvetica-Bold", textColor=colors.white)
TITLE = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=21, leading=27, textColor=SLATE)
SUBTITLE = ParagraphStyle("subtitle", parent=BODY, textColor=colors.grey, spaceAfter=18)
HEADINGS = {
    1: ParagraphStyle("h1", parent=TITLE, fontSize=16, leading=21, spaceBefore=6, spaceAfter=8),
    2: ParagraphStyle("h2", parent=TITLE, fontSize=12, leading=16, spaceBefore=8, spaceAfter=4),
}


def render_pdf(document: Document) -> bytes:
    out = io.BytesIO()
    template = SimpleDocTemplate(
        out,
        pagesize=A5,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=22 * mm,
        bottomMargin=18 * mm,
        title=document.title,
        author="Corrowick Sound Ferry Cooperative",
        lang=document.language,
        invariant=1,
    )
    decorate = partial(_page_furniture, document.title)
    template.build(_story(document), onFirstPage=decorate, onLaterPages=decorate)
    return out.getvalue()


def _page_furniture(title: str, page: canvas.Canvas, _template: SimpleDocTemplate) -> None:
    """The running head and the page number."""
    page.saveState()
    page.setFont("Helvetica", 8)
    page.setFillColor(colors.grey)
    left = MARGIN + FRAME_PADDING
    page.drawString(left, TOP, "Corrowick Sound Ferry Cooperative")
    page.drawRightString(RIGHT - FRAME_PADDING, TOP, title)
    page.setStrokeColor(SLATE)
    page.line(left, TOP - 6, RIGHT - FRAME_PADDING, TOP - 6)
    page.drawCentredString(A5[0] / 2, 10 * mm, f"Page {page.getPageNumber()}")
    page.restoreState()


def _story(document: Document) -> list[Flowable]:
    story: list[Flowable] = [Paragraph(document.title, TITLE), Paragraph(document.subtitle, SUBTITLE)]
    for block in document.blocks:
        story.extend(_flowables(block))
    return story


def _flowables(block: Block) -> list[Flowable]:
    match block:
        case Heading():
            return [Paragraph(block.text, HEADINGS[block.level])]
        case Text():
            return [Paragraph(block.text, BODY)]
        case Bullets():
            return [_list(block), Spacer(1, 6)]
        case Table():
            return [Spacer(1, 4), _grid(block), Spacer(1, 12)]
        case PageBreak():
            return [NewPage()]


def _list(block: Bullets) -> ListFlowable:
    style: dict[str, Any] = {"bulletType": "1", "bulletFormat": "%s."} if block.numbered else {}
    style = style or {"bulletType": "bullet", "start": "•"}
    return ListFlowable(
        [ListItem(Paragraph(item, BODY)) for item in block.items], leftIndent=18, bulletFontSize=10, **style
    )


def _grid(block: Table) -> Grid:
    rows = [[Paragraph(cell, HEAD_CELL) for cell in block.header]]
    rows += [[Paragraph(cell, CELL) for cell in row] for row in block.rows]
    style = [
        ("BACKGROUND", (0, 0), (-1, 0), SLATE),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, PALE]),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, colors.lightgrey),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    return Grid(rows, colWidths=_widths(block), style=style, repeatRows=1)


def _widths(block: Table) -> list[float]:
    """What the longest cell of each column takes in one line; what is left over is shared out evenly."""
    columns = zip(block.header, *block.rows, strict=True)
    needed = [max(stringWidth(cell, "Helvetica-Bold", CELL.fontSize) for cell in cells) for cells in columns]
    room = RIGHT - MARGIN - 2 * FRAME_PADDING
    return [width + (room - sum(needed)) / len(needed) for width in needed]
