"""Word documents: body, tables, lists, text boxes, content controls, notes, headers and footers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.parse.archive import Archive
from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import DOCX
from ingestion.parse.ooxml import Package
from ingestion.parse.tables import Grid, markdown_table
from ingestion.parse.xml import Element, attribute, child, every, local, parse_xml
from rag.errors import DocumentError

# Deleted and moved-away text, field codes, properties, and the fallback twin of every drawing.
_SILENT = frozenset(
    [
        "del",
        "moveFrom",
        "instrText",
        "delText",
        "Fallback",
        "pPr",
        "rPr",
        "tblPr",
        "tblGrid",
        "trPr",
        "tcPr",
        "sectPr",
        "sdtPr",
        "sdtEndPr",
        "annotationRef",
        "footnoteRef",
        "endnoteRef",
    ]
)
_TEXT = frozenset({"t", "delInstrText"})
_CHARS = {"tab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": " ", "lastRenderedPageBreak": ""}
_NOTES = (("footnotes", "footnote"), ("endnotes", "endnote"))
_MAX_TABLE_DEPTH = 8
_MAX_INHERITANCE = 20


def parse_docx(path: Path) -> ParsedDocument:
    """One document from a Word file (docx, docm, dotx; Strict and Transitional)."""
    with Archive(path) as archive:
        package = Package(archive)
        main = package.main_part("word/document.xml")
        writer = _Writer(Canonical(), package, main, _styles(package, main))
        root = package.xml(main)
        writer.blocks(child(root, "body") if child(root, "body") is not None else root)
        for kind, name in _NOTES:
            for part in package.related(main, kind):
                writer.notes(package.xml(part), name)
        for kind in ("header", "footer"):
            writer.margins(package.related(main, kind))
        return writer.out.build(DOCX, package.title())


@dataclass
class _Writer:
    out: Canonical
    package: Package
    part: str
    levels: dict[str, int]
    _margins: set[str] = field(default_factory=set)

    def blocks(self, container: Element) -> None:
        """Block-level children in order; wrappers of any kind are looked into."""
        stack = list(reversed(container))
        while stack:
            item = stack.pop()
            name = local(item)
            if name == "p":
                self.paragraph(item)
            elif name == "tbl":
                self.table(item)
            elif name == "altChunk":
                self.alt_chunk(item)
            elif name and name not in _SILENT:
                stack.extend(reversed(item))

    def paragraph(self, paragraph: Element) -> None:
        boxes: list[Element] = []
        text = paragraph_text(paragraph, boxes)
        level = self._level(paragraph)
        if level is not None and text.strip():
            self.out.heading(level, text)
        elif child(paragraph, "pPr", "numPr") is not None and text.strip():
            self.out.block("list_item", "- " + text.strip())
        else:
            self.out.block("paragraph", text)
        for box in boxes:
            self.blocks(box)

    def table(self, table: Element) -> None:
        """A table of one cell is a frame around text; every other becomes Markdown."""
        rows = list(_rows(table))
        if len(rows) == 1 and len(rows[0]) == 1:
            self.blocks(rows[0][0])
        else:
            self.out.block("table", markdown_table(_cells(table, 0)))

    def alt_chunk(self, chunk: Element) -> None:
        """A body kept as HTML or text in a part of its own."""
        wanted = attribute(chunk, "id")
        for relation in self.package.relations(self.part):
            if relation.id == wanted and relation.target in self.package.archive:
                self._foreign(self.package.archive.read(relation.target))

    def notes(self, root: Element, name: str) -> None:
        for note in every(root, name):
            if attribute(note, "type") not in {"separator", "continuationSeparator", "continuationNotice"}:
                self.blocks(note)

    def margins(self, parts: list[str]) -> None:
        """Headers and footers once each: Word keeps one part per section and page kind, mostly alike."""
        for part in parts:
            for paragraph in every(self.package.xml(part), "p"):
                text = fold(paragraph_text(paragraph, []))
                if any(char.isalpha() for char in text) and text not in self._margins:
                    self._margins.add(text)
                    self.out.block("paragraph", text)

    def _foreign(self, data: bytes) -> None:
        from ingestion.parse.html import decode_html, write_html

        if not data.startswith(b"PK"):
            write_html(decode_html(data), self.out)

    def _level(self, paragraph: Element) -> int | None:
        own = _outline(child(paragraph, "pPr", "outlineLvl"))
        if own is not None:
            return own
        style = child(paragraph, "pPr", "pStyle")
        return self.levels.get(attribute(style, "val") or "") if style is not None else None


def paragraph_text(paragraph: Element, boxes: list[Element]) -> str:
    """The words of one paragraph. Text boxes found on the way are put into `boxes`: they are blocks of their
    own."""
    parts: list[str] = []
    stack = list(reversed(paragraph))
    while stack:
        item = stack.pop()
        name = local(item)
        if name in _TEXT:
            parts.append(item.text or "")
        elif name in _CHARS:
            parts.append(_CHARS[name])
        elif name == "sym":
            parts.append(_symbol(attribute(item, "char")))
        elif name == "txbxContent":
            boxes.append(item)
        elif name and name not in _SILENT:
            stack.extend(reversed(item))
    return "".join(parts)


def _symbol(code: str | None) -> str:
    """A character of a symbol font, by its code; Word shifts them into the private area."""
    try:
        value = int(code or "", 16)
    except ValueError:
        return ""
    value = value - 0xF000 if 0xF000 <= value <= 0xF0FF else value
    return chr(value) if 0x20 <= value <= 0x10FFFF else ""


def _inside(container: Element, wanted: str, opaque: frozenset[str]) -> Iterator[Element]:
    """Descendants of one name, not looked for inside each other or inside `opaque`."""
    stack = list(reversed(container))
    while stack:
        item = stack.pop()
        name = local(item)
        if name == wanted:
            yield item
        elif name and name not in opaque and name not in _SILENT:
            stack.extend(reversed(item))


def _rows(table: Element) -> Iterator[list[Element]]:
    for row in _inside(table, "tr", frozenset({"tbl"})):
        yield list(_inside(row, "tc", frozenset({"tbl"})))


def _cells(table: Element, depth: int) -> list[list[str]]:
    grid = Grid()
    above: dict[int, str] = {}
    for row in _rows(table):
        grid.row()
        column = 0
        for cell in row:
            text = _cell_text(cell, depth)
            merge = child(cell, "tcPr", "vMerge")
            if merge is not None and attribute(merge, "val") != "restart":
                text = text.strip() or above.get(column, "")
            above[column] = text
            span = _span(cell)
            grid.cell(text, span)
            column += span
    return grid.rows()


def _cell_text(cell: Element, depth: int) -> str:
    """Paragraphs of a cell; a nested table is read row by row into the cell."""
    parts: list[str] = []
    stack = list(reversed(cell))
    while stack:
        item = stack.pop()
        name = local(item)
        if name == "p":
            boxes: list[Element] = []
            parts.append(paragraph_text(item, boxes))
            stack.extend(reversed(boxes))
        elif name == "tbl":
            if depth < _MAX_TABLE_DEPTH:
                parts.extend(" ".join(row) for row in _cells(item, depth + 1))
        elif name and name not in _SILENT:
            stack.extend(reversed(item))
    return " ".join(parts)


def _span(cell: Element) -> int:
    span = child(cell, "tcPr", "gridSpan")
    value = (attribute(span, "val") or "") if span is not None else ""
    return int(value) if value.isascii() and value.isdigit() and 0 < len(value) < 4 else 1


def _outline(element: Element | None) -> int | None:
    value = attribute(element, "val") if element is not None else None
    return int(value) + 1 if value in set("012345678") else None


def _styles(package: Package, main: str) -> dict[str, int]:
    """Heading level by style id: the outline level, the built-in name, or those of the style it is based
    on."""
    parts = package.related(main, "styles")
    if not parts:
        return {}
    try:
        root = parse_xml(package.archive.read(parts[0]), recover=True)
    except DocumentError:
        return {}  # headings are a nicety: without styles the words are still all there
    own: dict[str, int | None] = {}
    based: dict[str, str] = {}
    for style in every(root, "style"):
        name = attribute(style, "styleId") or ""
        base = child(style, "basedOn")
        own[name] = _style_level(style)
        if base is not None:
            based[name] = attribute(base, "val") or ""
    return {name: level for name in own if (level := _inherited(name, own, based)) is not None}


def _style_level(style: Element) -> int | None:
    level = _outline(child(style, "pPr", "outlineLvl"))
    if level is not None:
        return level
    name = child(style, "name")
    words = ((attribute(name, "val") or "") if name is not None else "").lower().split()
    if words == ["title"]:
        return 1
    if len(words) == 2 and words[0] == "heading" and words[1] in set("123456789"):
        return int(words[1])
    return None


def _inherited(name: str, own: dict[str, int | None], based: dict[str, str]) -> int | None:
    for _ in range(_MAX_INHERITANCE):
        if own.get(name) is not None:
            return own[name]
        if name not in based:
            return None
        name = based[name]
    return None
