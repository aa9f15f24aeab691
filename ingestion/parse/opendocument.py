"""OpenDocument: text (odt), spreadsheet (ods) and presentation (odp)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion.parse.archive import Archive
from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import ODP, ODS, ODT
from ingestion.parse.tables import MAX_COLUMNS, Grid, markdown_table
from ingestion.parse.xml import Element, attribute, child, every, local, parse_xml
from rag.errors import DocumentError

# A spreadsheet repeats its last empty row a million times; a filled one is repeated no more often than this.
_MAX_REPEAT = 1000
_MAX_SPACES = 100
_SILENT = frozenset(["tracked-changes", "annotation", "forms", "sequence-decls", "bookmark", "automatic-styles"])
_CHARS = {"tab": " ", "line-break": "\n", "soft-page-break": ""}


def parse_opendocument(path: Path) -> ParsedDocument:
    """One document from an OpenDocument file; slides are pages."""
    with Archive(path) as archive:
        _refuse_encrypted(archive)
        try:
            root = parse_xml(archive.read("content.xml"))
        except KeyError as error:
            raise DocumentError(
                "corrupt_document",
                "The document has no content part. Open it in the program that made it, save it again and upload it.",
            ) from error
        out = Canonical()
        body = child(root, "body")
        kind = _write(out, body if body is not None else root)
        for text in _margins(archive):
            out.block("paragraph", text)
        return out.build(kind, _title(archive))


def _refuse_encrypted(archive: Archive) -> None:
    manifest = archive.read_optional("META-INF/manifest.xml")
    if manifest and next(every(parse_xml(manifest, recover=True), "encryption-data"), None) is not None:
        raise DocumentError(
            "needs_password",
            "The document is protected with a password. Remove the password and upload it again.",
        )


def _write(out: Canonical, body: Element) -> str:
    writer = _Writer(out)
    kind = ODT
    for part in body:
        name = local(part)
        if name == "presentation":
            kind = ODP
            for number, page in enumerate(every(part, "page"), 1):
                words = any(fold("".join(item.itertext())) for item in page if local(item) != "forms")
                out.page(number, "text" if words else "blank")
                writer.blocks(page)
        elif name == "spreadsheet":
            kind = ODS
            for sheet in (item for item in part if local(item) == "table"):
                table = markdown_table(_cells(sheet))
                if table:
                    out.heading(1, attribute(sheet, "name") or "")
                    out.block("table", table)
        elif name:
            writer.blocks(part)
    return kind


@dataclass
class _Writer:
    out: Canonical

    def blocks(self, container: Element) -> None:
        stack: list[tuple[Element, bool]] = [(item, False) for item in reversed(container)]
        while stack:
            item, listed = stack.pop()
            name = local(item)
            if name in {"h", "p"}:
                stack.extend((frame, False) for frame in reversed(self._paragraph(item, name, listed)))
            elif name == "table":
                self.out.block("table", markdown_table(_cells(item)))
            elif name and name not in _SILENT:
                stack.extend((inner, listed or name == "list-item") for inner in reversed(item))

    def _paragraph(self, item: Element, name: str, listed: bool) -> list[Element]:
        """Writes one paragraph; returns the frames in it, which hold blocks of their own."""
        frames: list[Element] = []
        text = _words(item, frames)
        if name == "h":
            level = attribute(item, "outline-level") or "1"
            self.out.heading(int(level) if level in set("123456789") else 1, text)
        elif listed and text.strip():
            self.out.block("list_item", "- " + text.strip())
        else:
            self.out.block("paragraph", text)
        return frames


def _words(paragraph: Element, frames: list[Element]) -> str:
    """Text with tails in order. Notes are read in place; frames are handed back."""
    parts: list[str] = [paragraph.text or ""]
    stack: list[Element | str] = _reversed(paragraph)
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        name = local(item)
        if name == "frame":
            frames.append(item)
        elif name == "s":
            count = attribute(item, "c") or "1"
            parts.append(" " * min(int(count), _MAX_SPACES) if count.isascii() and count.isdigit() else " ")
        elif name in _CHARS:
            parts.append(_CHARS[name])
        elif name and name not in _SILENT:
            edge = " " if name in {"p", "note", "note-body"} else ""
            stack.append(edge)
            stack.extend(_reversed(item))
            parts.append(edge + (item.text or ""))
    return "".join(parts)


def _reversed(element: Element) -> list[Element | str]:
    found: list[Element | str] = []
    for item in reversed(element):
        if item.tail:
            found.append(item.tail)
        found.append(item)
    return found


def _cells(table: Element) -> list[list[str]]:
    grid = Grid()
    for row in _within(table, "table-row"):
        cells = [item for item in row if local(item) in {"table-cell", "covered-table-cell"}]
        filled = any(_cell_text(cell) for cell in cells)
        for _ in range(_count(row, "number-rows-repeated") if filled else 1):
            grid.row()
            for cell in cells:
                _put(grid, cell)
    return grid.rows()


def _put(grid: Grid, cell: Element) -> None:
    text = _cell_text(cell)
    repeat = _count(cell, "number-columns-repeated", MAX_COLUMNS if not text else _MAX_REPEAT)
    for _ in range(repeat):
        grid.cell(text)


def _cell_text(cell: Element) -> str:
    frames: list[Element] = []
    texts = [_words(item, frames) for item in every(cell, "p")] + [_words(item, frames) for item in every(cell, "h")]
    return " ".join(texts)


def _within(table: Element, wanted: str) -> Iterator[Element]:
    """Rows of this table, not of one nested in it."""
    stack = list(reversed(table))
    while stack:
        item = stack.pop()
        if local(item) == wanted:
            yield item
        elif local(item) in {"table-header-rows", "table-rows", "table-row-group"}:
            stack.extend(reversed(item))


def _count(element: Element, name: str, most: int = _MAX_REPEAT) -> int:
    value = attribute(element, name) or "1"
    return max(1, min(int(value), most)) if value.isascii() and value.isdigit() and len(value) < 12 else 1


def _margins(archive: Archive) -> Iterator[str]:
    """Headers and footers, once each."""
    data = archive.read_optional("styles.xml")
    if data is None:
        return
    seen: set[str] = set()
    root = parse_xml(data, recover=True)
    for kind in ("header", "footer"):
        for part in every(root, kind):
            for paragraph in every(part, "p"):
                text = fold(_words(paragraph, []))
                if text not in seen and any(char.isalpha() for char in text):
                    seen.add(text)
                    yield text


def _title(archive: Archive) -> str | None:
    data = archive.read_optional("meta.xml")
    found = next(every(parse_xml(data, recover=True), "title"), None) if data else None
    return found.text if found is not None else None
