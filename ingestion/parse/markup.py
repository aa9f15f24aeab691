"""Markdown: the words under their headings, without the marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingestion.parse.canonical import Canonical
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import MARKDOWN
from ingestion.parse.tables import markdown_table
from ingestion.parse.text import read_text, write_text

# The parser leaves out what is nested deeper, so such a file is read as plain text instead.
_MAX_NESTING = 60
_FRONT_MATTER = re.compile(r"(?:---|\+\+\+)\n(.*?)\n(?:---|\+\+\+|\.\.\.)\n", re.S)
_TAG = re.compile(r"<[^>]*>")


def parse_markdown(path: Path) -> ParsedDocument:
    """One document from Markdown (CommonMark with tables and strikethrough)."""
    out = Canonical()
    write_markdown(read_text(path), out)
    return out.build(MARKDOWN)


def write_markdown(text: str, out: Canonical) -> None:
    text = text.lstrip("\ufeff")
    front = _FRONT_MATTER.match(text)
    body = text[front.end() :] if front else text
    tokens = _tokens(body)
    if front:
        out.block("code", front[1])
    if tokens is None:
        write_text(body, out)
    else:
        _Writer(out).write(tokens)


def _tokens(text: str) -> list[Token] | None:
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    try:
        tokens = parser.parse(text)
    except RecursionError:
        return None
    return None if any(token.level >= _MAX_NESTING - 1 for token in tokens) else tokens


@dataclass
class _Writer:
    out: Canonical
    _lists: list[int | None] = field(default_factory=list)
    _marker: str = ""
    _items: int = 0
    _rows: list[list[str]] = field(default_factory=list)
    _table: bool = False
    _heading: int = 0

    def write(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._token(token)

    def _token(self, token: Token) -> None:
        kind = token.type
        if kind == "inline":
            self._inline(_words(token.children or []))
        elif kind in {"fence", "code_block"}:
            self.out.block("code", token.content)
        elif kind == "html_block":
            self._html(token.content)
        elif kind == "heading_open":
            self._heading = int(token.tag[1])
        elif kind == "heading_close":
            self._heading = 0
        elif kind.startswith(("bullet_list", "ordered_list", "list_item")):
            self._list(token)
        elif kind in {"table_open", "table_close", "tr_open"}:
            self._row(kind)

    def _inline(self, text: str) -> None:
        if self._table:
            self._rows[-1].append(text)
        elif self._heading:
            self.out.heading(self._heading, text)
        elif self._items:
            self.out.block("list_item", self._marker + text)
            self._marker = ""
        else:
            self.out.block("paragraph", text)

    def _list(self, token: Token) -> None:
        if token.type == "list_item_open":
            self._items += 1
            self._marker = f"{token.info}. " if token.info else "- "
        elif token.type == "list_item_close":
            self._items -= 1
            self._marker = ""

    def _row(self, kind: str) -> None:
        if kind == "tr_open":
            self._rows.append([])
            return
        if kind == "table_close":
            self.out.block("table", markdown_table(self._rows))
        self._table, self._rows = kind == "table_open", []

    def _html(self, text: str) -> None:
        from ingestion.parse.html import write_html

        write_html(text, self.out)


def _words(children: Sequence[Token]) -> str:
    parts: list[str] = []
    for token in children:
        if token.type in {"text", "code_inline"}:
            parts.append(token.content)
        elif token.type in {"softbreak", "hardbreak"}:
            parts.append("\n")
        elif token.type == "image":
            parts.append(_words(token.children or []))
        elif token.type == "html_inline" and token.content.lower().startswith("<br"):
            parts.append("\n")
    return "".join(parts)
