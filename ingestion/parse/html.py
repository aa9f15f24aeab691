"""HTML: headings, paragraphs, lists, code and tables in reading order; scripts and navigation left out.

The tree is walked with explicit stacks, so a deep document costs memory and never recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.decode import decode
from ingestion.parse.elements import BlockKind, ParsedDocument
from ingestion.parse.mime import HTML
from ingestion.parse.tables import Grid, markdown_table
from rag.errors import DocumentError

_SILENT = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "svg",
        "canvas",
        "iframe",
        "object",
        "embed",
        "head",
        "audio",
        "video",
        "select",
        "datalist",
        "textarea",
        "-comment",
        "!doctype",
    ]
)
_ROLES = frozenset({"navigation", "search"})
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "button",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CAPTIONS = frozenset({"figcaption", "caption"})
_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
_XML_CHARSET = re.compile(rb"<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)", re.I)
# A cell with more text than this holds a page's layout, not a value.
_LAYOUT_CELL = 1500
_MAX_SPAN = 1000
_BREAK = "\0"  # stands for <br>; zero bytes are taken out of the page before


def parse_html(path: Path) -> ParsedDocument:
    """One document from an HTML file in any encoding."""
    out = Canonical()
    title = write_html(decode_html(path.read_bytes()), out)
    return out.build(HTML, title)


def decode_html(data: bytes) -> str:
    """Text of an HTML or XML file: byte order mark, declared encoding, then the general guess."""
    declared = _META_CHARSET.search(data, 0, 4096) or _XML_CHARSET.search(data, 0, 200)
    text = decode(data, declared[1].decode("ascii", "replace") if declared else None)
    if text is None:
        raise DocumentError(
            "corrupt_document", "The page is in no known text encoding. Save it as UTF-8 and upload it again."
        )
    return text


def write_html(text: str, out: Canonical) -> str | None:
    """Writes the page into `out` and returns its title.

    Where nothing is left after hidden parts and navigation were dropped, the page is read again with them: a
    page that shows itself only by script still holds its words.
    """
    tree = LexborHTMLParser(text.replace("\0", ""))
    title = tree.css_first("title")
    start = tree.body or tree.root
    if start is not None:
        writer = _Writer(out)
        writer.walk(start, careful=True)
        if not writer.wrote:
            writer.walk(start, careful=False)
    return title.text(deep=True) if title is not None else None


@dataclass
class _Writer:
    """Gathers inline text until a block boundary, then writes one block."""

    out: Canonical
    wrote: bool = False
    _careful: bool = True
    _inline: list[str] = field(default_factory=list)
    _kind: BlockKind = "paragraph"
    _prefix: str = ""
    _counters: list[int | None] = field(default_factory=list)

    def walk(self, start: LexborNode, *, careful: bool) -> None:
        """Visits every node: (node, False) on the way in, (node, True) on the way out."""
        self._careful = careful
        stack: list[tuple[LexborNode, bool]] = [(start, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                self._leave(node)
            elif not _skipped(node, careful) and self._enter(node):
                stack.append((node, True))
                stack.extend((item, False) for item in reversed(list(_children(node))))
        self._flush()

    def _enter(self, node: LexborNode) -> bool:
        """Begins an element; False where it was dealt with whole."""
        tag = node.tag or ""
        if tag == "-text":
            self._inline.append(node.text_content or "")
            return False
        if tag == "br":
            self._inline.append(_BREAK)
            return False
        if tag not in _BLOCKS:
            return True
        self._flush()
        if self._whole(node, tag):
            return False
        self._open(node, tag)
        return True

    def _whole(self, node: LexborNode, tag: str) -> bool:
        """Elements that become one block with everything in them."""
        if tag in _HEADINGS:
            self._heading(node, _HEADINGS[tag])
        elif tag == "pre":
            self._write("code", _flat(node, self._careful, raw=True))
        elif tag == "table" and _is_data(node):
            for caption in node.css("caption"):
                self._write("caption", fold(_flat(caption, self._careful)))
            self._write("table", markdown_table(_rows(node, self._careful)))
        else:
            return False
        return True

    def _open(self, node: LexborNode, tag: str) -> None:
        if tag in {"ul", "menu"}:
            self._counters.append(None)
        elif tag == "ol":
            self._counters.append(_number(node, "start", 1) - 1)
        elif tag == "li":
            self._kind, self._prefix = "list_item", self._marker(node)
        elif tag in _CAPTIONS:
            self._kind = "caption"

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag not in _BLOCKS:
            return
        self._flush()
        if tag in {"ul", "ol", "menu"} and self._counters:
            self._counters.pop()
        if tag == "li" or tag in _CAPTIONS:
            self._kind, self._prefix = "paragraph", ""

    def _marker(self, node: LexborNode) -> str:
        if not self._counters or self._counters[-1] is None:
            return "- "
        number = _number(node, "value", self._counters[-1] + 1)
        self._counters[-1] = number
        return f"{number}. "

    def _heading(self, node: LexborNode, level: int) -> None:
        title = fold(_flat(node, self._careful))
        if title:
            self.out.heading(level, title)
            self.wrote = True

    def _flush(self) -> None:
        if not self._inline:
            return
        # HTML's whitespace rule: any run is one space, only <br> breaks a line.
        lines = (" ".join(line.split()) for line in "".join(self._inline).split(_BREAK))
        text = "\n".join(lines).strip()
        self._inline.clear()
        if text:
            self._write(self._kind, self._prefix + text)
            self._prefix = ""

    def _write(self, kind: BlockKind, text: str) -> None:
        if text.strip():
            self.out.block(kind, text)
            self.wrote = True


def _skipped(node: LexborNode, careful: bool) -> bool:
    tag = node.tag or ""
    if tag in _SILENT:
        return True
    if not careful or tag.startswith("-"):
        return False
    if tag == "nav":
        return True
    attributes = node.attributes
    if not attributes:
        return False
    style = attributes.get("style")
    hidden = style is not None and _HIDDEN.search(style) is not None
    return hidden or "hidden" in attributes or attributes.get("role") in _ROLES


def _children(node: LexborNode) -> Iterator[LexborNode]:
    item = node.first_child
    while item is not None:
        yield item
        item = item.next


def _flat(node: LexborNode, careful: bool, *, raw: bool = False) -> str:
    """All words below a node; blocks are kept apart by a space, inline parts are not. `raw`: <br> is a line
    end."""
    parts: list[str] = []
    stack: list[LexborNode | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        tag = item.tag or ""
        if tag == "-text":
            parts.append(item.text_content or "")
        elif tag == "br":
            parts.append("\n" if raw else " ")
        elif not _skipped(item, careful):
            edge = " " if tag in _BLOCKS and not raw else ""
            parts.append(edge)
            stack.append(edge)
            stack.extend(reversed(list(_children(item))))
    return "".join(parts)


def _is_data(table: LexborNode) -> bool:
    """A grid of values rather than a page's layout: two rows, two columns, no table or heading inside, short
    cells."""
    if any(inner.mem_id != table.mem_id for inner in table.css("table, h1, h2, h3, h4, h5, h6, pre")):
        return False
    rows = table.css("tr")
    cells = table.css("td, th")
    if len(rows) < 2 or len(cells) < len(rows) + 1:
        return False
    return all(len(cell.text(deep=True)) <= _LAYOUT_CELL for cell in cells)


def _rows(table: LexborNode, careful: bool) -> list[list[str]]:
    grid = Grid()
    for row in table.css("tr"):
        if _skipped(row, careful):
            continue
        grid.row()
        for cell in _children(row):
            if cell.tag in {"td", "th"} and not _skipped(cell, careful):
                grid.cell(_flat(cell, careful), _number(cell, "colspan", 1), _number(cell, "rowspan", 1))
    return grid.rows()


def _number(node: LexborNode, name: str, default: int) -> int:
    value = (node.attributes.get(name) or "").strip()
    return min(int(value), _MAX_SPAN) if value.isascii() and value.isdigit() and len(value) < 9 else default
