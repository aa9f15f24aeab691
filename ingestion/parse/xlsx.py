"""Excel workbooks: each sheet a heading and one table, read as a stream, values as a person sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.parse.archive import Archive
from ingestion.parse.canonical import MAX_CHARS, Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import XLSX
from ingestion.parse.numfmt import BUILT_IN, general, show
from ingestion.parse.ooxml import Package
from ingestion.parse.tables import MAX_COLUMNS, markdown_table
from ingestion.parse.xml import Element, attribute, child, every, local, parse_xml, stream_xml
from rag.errors import DocumentError

MAX_SHEETS = 2_000
_REFERENCE = re.compile(r"([A-Z]{1,3})\d+$")
_MARGINS = frozenset({"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"})
# &L &C &R are the three parts; &P, &D, &"font" … are codes that the printer fills in.
_MARGIN_CODE = re.compile(r'&(?:"[^"]*"|K[0-9A-F]{6}|\d+|[A-Z&])', re.I)


@dataclass
class _Book:
    package: Package
    strings: list[str]
    formats: list[str]
    epoch_1904: bool
    margins: set[str] = field(default_factory=set)


def parse_xlsx(path: Path) -> ParsedDocument:
    """One document from an Excel workbook (xlsx, xlsm, xltx)."""
    with Archive(path) as archive:
        package = Package(archive)
        main = package.main_part("xl/workbook.xml")
        root = package.xml(main)
        settings = child(root, "workbookPr")
        date1904 = attribute(settings, "date1904") if settings is not None else None
        book = _Book(package, _strings(package, main), _formats(package, main), date1904 in {"1", "true"})
        out = Canonical()
        for name, part in _sheets(package, main, root):
            _write_sheet(out, book, name, part)
        return out.build(XLSX, package.title())


def _sheets(package: Package, main: str, root: Element) -> list[tuple[str, str]]:
    targets = {item.id: item.target for item in package.relations(main)}
    found = []
    for sheet in every(root, "sheet"):
        number = next((str(value) for key, value in sheet.attrib.items() if str(key).endswith("}id")), "")
        part = targets.get(number, "")
        if part in package.archive:
            found.append((attribute(sheet, "name") or "", part))
    if len(found) > MAX_SHEETS:
        raise DocumentError(
            "too_large", f"The workbook has more than {MAX_SHEETS:,} sheets. Split it into smaller files."
        )
    return found


def _write_sheet(out: Canonical, book: _Book, name: str, part: str) -> None:
    """A sheet without any value leaves no trace: its name alone is not content."""
    margins: list[str] = []
    table = markdown_table(_rows(book, part, margins))
    beside = [text for text in (*margins, *_drawn(book.package, part)) if text not in book.margins]
    if not table and not beside:
        return
    out.heading(1, name)
    out.block("table", table)
    for text in beside:
        book.margins.add(text)
        out.block("paragraph", text)


def _rows(book: _Book, part: str, margins: list[str]) -> Iterator[list[str]]:
    for element in stream_xml(book.package.archive.stream(part), _MARGINS | {"row"}):
        if local(element) != "row":
            text = fold(_MARGIN_CODE.sub(" ", element.text or ""))
            if any(char.isalnum() for char in text):
                margins.append(text)
            continue
        yield _row(book, element)


def _row(book: _Book, row: Element) -> list[str]:
    cells: list[str] = []
    for cell in row:
        if local(cell) != "c":
            continue
        column = _column(attribute(cell, "r"), len(cells))
        if column >= MAX_COLUMNS:
            break
        value = _value(book, cell)
        if value:
            cells.extend([""] * (column + 1 - len(cells)))
            cells[column] = value
        elif column >= len(cells):
            cells.extend([""] * (column + 1 - len(cells)))
    return cells


def _column(reference: str | None, default: int) -> int:
    match = _REFERENCE.match(reference or "")
    if match is None:
        return default
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return column - 1


def _value(book: _Book, cell: Element) -> str:
    kind = attribute(cell, "t") or "n"
    if kind == "inlineStr":
        holder = child(cell, "is")
        return _rich(holder) if holder is not None else ""
    found = child(cell, "v")
    text = (found.text or "") if found is not None else ""
    if kind == "s":
        return _shared(book.strings, text)
    if kind == "b":
        return "TRUE" if text.strip() == "1" else "FALSE" if text else ""
    if kind == "n" and text:
        return _shown(book, text, attribute(cell, "s"))
    return text


def _shared(strings: list[str], index: str) -> str:
    index = index.strip()
    at = int(index) if index.isascii() and index.isdigit() and len(index) < 10 else len(strings)
    return strings[at] if at < len(strings) else ""


def _shown(book: _Book, text: str, style: str | None) -> str:
    try:
        number = float(text)
    except ValueError:
        return text
    if number - number != 0:  # infinite or not a number
        return text
    at = int(style) if style and style.isascii() and style.isdigit() and len(style) < 7 else 0
    code = book.formats[at] if at < len(book.formats) else ""
    return show(number, code, epoch_1904=book.epoch_1904) if code else general(number)


def _strings(package: Package, main: str) -> list[str]:
    """The shared strings. Their sum is bounded; cells refer to them, so repeating one costs no memory
    here."""
    strings: list[str] = []
    size = 0
    for part in package.related(main, "sharedstrings")[:1]:
        for item in stream_xml(package.archive.stream(part), frozenset({"si"})):
            text = _rich(item)
            size += len(text)
            if size > MAX_CHARS:
                raise DocumentError(
                    "too_large",
                    f"The workbook holds more than {MAX_CHARS:,} characters. Split it into smaller files.",
                )
            strings.append(text)
    return strings


def _rich(element: Element) -> str:
    """Plain and formatted runs; the phonetic guide above East Asian text is not part of it."""
    parts: list[str] = []
    for item in element:
        if local(item) == "t":
            parts.append(item.text or "")
        elif local(item) == "r":
            text = child(item, "t")
            parts.append((text.text or "") if text is not None else "")
    return "".join(parts)


def _formats(package: Package, main: str) -> list[str]:
    """Number format by cell style index, "" for the general one."""
    for part in package.related(main, "styles")[:1]:
        root = parse_xml(package.archive.read(part), recover=True)
        custom = {
            attribute(item, "numFmtId") or "": attribute(item, "formatCode") or "" for item in every(root, "numFmt")
        }
        styles = child(root, "cellXfs")
        return [_format(attribute(item, "numFmtId") or "0", custom) for item in (styles if styles is not None else ())]
    return []


def _format(number: str, custom: dict[str, str]) -> str:
    code = custom.get(number)
    if code is None:
        code = BUILT_IN.get(int(number), "") if number.isascii() and number.isdigit() and len(number) < 6 else ""
    return "" if code.lower() in {"general", "@"} else code


def _drawn(package: Package, part: str) -> Iterator[str]:
    """Text boxes and comments, which lie over the cells."""
    for relation in package.relations(part):
        if relation.target not in package.archive:
            continue
        if relation.kind == "drawing":
            yield from _texts(package.xml(relation.target), "p")
        elif relation.kind == "comments":
            yield from _texts(package.xml(relation.target), "comment")


def _texts(root: Element, name: str) -> Iterator[str]:
    for item in every(root, name):
        text = fold("".join(run.text or "" for run in every(item, "t")))
        if text:
            yield text
