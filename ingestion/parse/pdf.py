"""PDF through pdfium: one page at a time, lines grouped into paragraphs by where they stand."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from ingestion.parse.canonical import MAX_CHARS, Canonical, fold
from ingestion.parse.elements import PageOutcome, ParsedDocument
from ingestion.parse.mime import PDF
from ingestion.parse.ocr import Ocr, OcrFailed
from rag.errors import DocumentError

MAX_PAGES = 20_000
# pdfium puts this where a word was hyphenated at a line end.
_SOFT_HYPHEN = "\ufffe"
_JOIN = re.compile(r"(?<=[^\W\d_])\ufffe(?=[^\W\d_])")
_LINE = re.compile(r"[^\r\n]+")
_HEADING_SCALE = 1.15
_MAX_HEADING_CHARS = 200
_MAX_HEADING_SHARE = 0.2
_PARAGRAPH_GAP = 0.75
# A page with fewer characters and a picture may be a scan with a stamp or a page number on it.
_STAMP_CHARS = 40
_SCAN_SHARE = 0.5
_MAX_IMAGES = 200
_SOME = 1e-6
_PASSWORD_ERROR = raw.FPDF_ERR_PASSWORD


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a page. `size` is its height and `top` its upper edge, in points; 0 where unknown."""

    text: str
    size: float = 0.0
    top: float = 0.0
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class PageText:
    number: int
    outcome: PageOutcome
    lines: tuple[Line, ...] = ()
    has_images: bool = False


def parse_pdf(path: Path) -> ParsedDocument:
    """One document from a PDF. Scanned pages go through text recognition where the server has it.

    Raises DocumentError needs_password, corrupt_document, empty_document, needs_ocr or too_large.
    """
    with closing(_open(path)) as document:
        if len(document) > MAX_PAGES:
            raise DocumentError("too_large", f"The PDF has more than {MAX_PAGES:,} pages. Split it into smaller files.")
        ocr = Ocr.find()
        pages = _bounded(_read_page(document, index, ocr) for index in range(len(document)))
        title = document.get_metadata_value("Title")
    _refuse_empty(pages, tried_ocr=ocr is not None)
    return _build(pages, title)


def _open(path: Path) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            raise DocumentError(
                "needs_password",
                "The PDF opens only with a password. Remove the password and upload it again.",
            ) from error
        raise DocumentError(
            "corrupt_document",
            "The PDF is damaged or incomplete. Open it in a PDF reader, print it to a new PDF and upload that.",
        ) from error


def _bounded(pages: Iterator[PageText]) -> list[PageText]:
    """Only words are kept of a page; their sum is bounded."""
    kept: list[PageText] = []
    size = 0
    for page in pages:
        size += sum(len(line.text) for line in page.lines)
        if size > MAX_CHARS:
            raise DocumentError(
                "too_large", f"The PDF holds more than {MAX_CHARS:,} characters. Split it into smaller files."
            )
        kept.append(page)
    return kept


def _read_page(document: pdfium.PdfDocument, index: int, ocr: Ocr | None) -> PageText:
    """One page, closed again before the next is opened: a failure is that page's alone."""
    try:
        with closing(document[index]) as page:
            return _read(page, index + 1, ocr)
    except (pdfium.PdfiumError, ctypes.ArgumentError, UnicodeDecodeError):
        return PageText(index + 1, "failed")


def _read(page: pdfium.PdfPage, number: int, ocr: Ocr | None) -> PageText:
    lines = _lines(page)
    length = sum(len(line.text) for line in lines)
    if length >= _STAMP_CHARS:
        return PageText(number, "text", lines)
    picture = _largest_image(page)
    if picture and ocr is not None:
        try:
            words = ocr.page(page)
        except OcrFailed:
            return PageText(number, "text" if lines else "failed", lines, has_images=True)
        read = tuple(Line(line) for line in words.split("\n") if line.strip())
        if sum(len(line.text) for line in read) > length:
            return PageText(number, "ocr", read, has_images=True)
    if lines:
        return PageText(number, "text", lines, bool(picture))
    # A scan that nobody can read is not blank: the page count would hide what is missing.
    unread = ocr is None and picture >= _SCAN_SHARE
    return PageText(number, "failed" if unread else "blank", (), bool(picture))


def _lines(page: pdfium.PdfPage) -> tuple[Line, ...]:
    with closing(page.get_textpage()) as textpage:
        text = textpage.get_text_range()
        if not text.strip():
            return ()
        # Offsets in the text are character indexes unless the page has characters beyond the basic plane.
        exact = len(text) == textpage.count_chars()
        sideways = page.get_rotation() in (90, 270)
        return tuple(_line(textpage, match, exact, sideways) for match in _LINE.finditer(text) if match[0].strip())


def _line(textpage: Any, match: re.Match[str], exact: bool, sideways: bool) -> Line:
    words = _join_hyphens(match[0])
    if not exact:
        return Line(words)
    bare = match[0].strip()
    first = match.start() + match[0].index(bare[0])
    box = _box(textpage, first + len(bare) // 2)
    if box is None:
        return Line(words)
    size = box.right - box.left if sideways else box.top - box.bottom
    top = -box.left if sideways else box.top
    return Line(words, round(abs(size), 1), top, box.left)


def _box(textpage: Any, index: int) -> Any:
    box = raw.FS_RECTF()
    return box if raw.FPDFText_GetLooseCharBox(textpage, index, box) else None


def _join_hyphens(text: str) -> str:
    """`frame\\ufffeworks` is one word; between anything but letters the hyphen was a real one."""
    return _JOIN.sub("", text).replace(_SOFT_HYPHEN, "-")


def _largest_image(page: pdfium.PdfPage) -> float:
    """Share of the page (0-1) that its largest picture covers, 0 where there is none."""
    width, height = page.get_size()
    largest = 0.0
    for image in islice(page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=4), _MAX_IMAGES):
        left, bottom, right, top = image.get_bounds()
        share = abs(right - left) * abs(top - bottom) / max(width * height, 1.0)
        largest = max(largest, share, _SOME)
    return min(largest, 1.0)


def _refuse_empty(pages: list[PageText], *, tried_ocr: bool) -> None:
    if any(page.lines for page in pages):
        return
    failed = [page for page in pages if page.outcome == "failed"]
    scanned = [page for page in pages if page.has_images]
    if scanned and not tried_ocr:
        raise DocumentError(
            "needs_ocr",
            "The PDF holds pictures of pages and no text. Run it through text recognition (OCR), or install "
            "tesseract on the server, and upload it again.",
        )
    if scanned and failed:
        raise DocumentError(
            "needs_ocr",
            "The PDF holds pictures of pages, and text recognition failed on them. Run it through text recognition "
            "(OCR) yourself and upload it again.",
        )
    if pages and len(failed) == len(pages):
        raise DocumentError(
            "corrupt_document",
            "No page of the PDF can be read. Open it in a PDF reader, print it to a new PDF and upload that.",
        )
    raise DocumentError("empty_document", "The PDF has no text on any page. Upload a file that contains text.")


def _build(pages: list[PageText], title: str | None) -> ParsedDocument:
    levels = _heading_levels(pages)
    out = Canonical()
    for page in pages:
        out.page(page.number, page.outcome)
        for group in _paragraphs(page.lines):
            level = levels.get(group[0].size)
            text = "\n".join(line.text.strip() for line in group)
            if level is not None and _is_heading(text):
                out.heading(level, text)
            else:
                out.block("paragraph", text)
    return out.build(PDF, title)


def _paragraphs(lines: tuple[Line, ...]) -> Iterator[list[Line]]:
    """Splits where the size changes, the gap is wider than a line's, or the text jumps up to another
    column."""
    group: list[Line] = []
    for line in lines:
        if group and _breaks(group[-1], line):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _breaks(above: Line, below: Line) -> bool:
    if not above.size or not below.size:
        return False
    drop = above.top - below.top
    size = min(above.size, below.size)
    return drop < -size or drop > above.size + size * _PARAGRAPH_GAP or abs(above.size - below.size) > size * 0.12


def _heading_levels(pages: list[PageText]) -> dict[float, int]:
    """Sizes clearly larger than the body's, largest first. Empty where large type is no exception (slides,
    posters)."""
    weight: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            if line.size:
                weight[line.size] += len(line.text)
    if not weight:
        return {}
    body = weight.most_common(1)[0][0]
    large = {size: count for size, count in weight.items() if size > body * _HEADING_SCALE}
    if sum(large.values()) > sum(weight.values()) * _MAX_HEADING_SHARE:
        return {}
    return _ranked(sorted(large, reverse=True))


def _ranked(sizes: list[float]) -> dict[float, int]:
    """Neighbouring sizes that differ by less than 5 % share a level; six levels at most."""
    levels: dict[float, int] = {}
    level, last = 0, 0.0
    for size in sizes:
        if not last or size < last * 0.95:
            level, last = min(level + 1, 6), size
        levels[size] = level
    return levels


def _is_heading(text: str) -> bool:
    words = fold(text)
    letters = sum(char.isalpha() for char in words)
    return len(words) <= _MAX_HEADING_CHARS and letters >= 2 and text.count("\n") < 4
