"""HTML, Markdown, plain text and CSV: UTF-8 with Unix line ends."""

from __future__ import annotations

import csv
import io
import textwrap
from html import escape

from handbook_source.blocks import Block, Bullets, Document, Heading, PageBreak, Records, Table, Text

_CSS = (
    "body{font:16px/1.5 sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1,h2,h3{color:#2f4f4a}table{border-collapse:collapse}th,td{border:1px solid #bbb;padding:.3rem .6rem}"
    "nav,footer{color:#777;font-size:.85rem}"
)


# html ------------------------------------------------------------------------------------------------
def render_html(document: Document) -> bytes:
    body = "\n".join(_html(block) for block in document.blocks)
    page = (
        f'<!DOCTYPE html>\n<html lang="{document.language}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(document.title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        "<nav>Home · Timetable · Fares · Contact</nav>\n"
        f"<main>\n<h1>{escape(document.title)}</h1>\n<p>{escape(document.subtitle)}</p>\n{body}\n</main>\n"
        "<footer>Corrowick Sound Ferry Cooperative</footer>\n</body>\n</html>\n"
    )
    return page.encode()


def _html(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Text():
            return f"<p>{escape(block.text)}</p>"
        case Bullets():
            tag = "ol" if block.numbered else "ul"
            items = "".join(f"<li>{escape(item)}</li>" for item in block.items)
            return f"<{tag}>{items}</{tag}>"
        case Table():
            return f"<table>\n{_html_row(block.header, 'th')}\n{_html_rows(block)}\n</table>"
        case PageBreak():
            return "<hr>"


def _html_rows(block: Table) -> str:
    return "\n".join(_html_row(row, "td") for row in block.rows)


def _html_row(cells: tuple[str, ...], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


# markdown --------------------------------------------------------------------------------------------
def render_markdown(document: Document) -> bytes:
    parts = [f"# {document.title}", f"*{document.subtitle}*", *map(_markdown, document.blocks)]
    return ("\n\n".join(parts) + "\n").encode()


def _markdown(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Text():
            return block.text
        case Bullets():
            return "\n".join(f"{_bullet(block, n)} {item}" for n, item in enumerate(block.items, start=1))
        case Table():
            rows = (block.header, tuple("---" for _ in block.header), *block.rows)
            return "\n".join("| " + " | ".join(row) + " |" for row in rows)
        case PageBreak():
            return "---"


def _bullet(block: Bullets, n: int) -> str:
    return f"{n}." if block.numbered else "-"


# plain text ------------------------------------------------------------------------------------------
def render_text(document: Document) -> bytes:
    parts = [document.title, document.subtitle, *map(_plain, document.blocks)]
    return ("\n\n".join(parts) + "\n").encode()


def _plain(block: Block) -> str:
    match block:
        case Heading():
            return block.text.upper()
        case Text():
            return textwrap.fill(block.text, 96)
        case Bullets() | Table():
            return _markdown(block)
        case PageBreak():
            return "\f"


# csv -------------------------------------------------------------------------------------------------
def render_csv(records: Records) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([records.header, *records.rows])
    return out.getvalue().encode()
