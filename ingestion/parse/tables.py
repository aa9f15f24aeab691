"""Rows of cells as a GitHub Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingestion.parse.canonical import MAX_CHARS, fold
from rag.errors import DocumentError

MAX_COLUMNS = 16_384
_MAX_ROW_SPAN = 1000


class Grid:
    """Cells with spans laid out in rows. A cell that spans rows is repeated in each: a row that is read
    alone keeps its sense. A cell that spans columns is followed by empty ones."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self._open: dict[int, tuple[int, str]] = {}

    def row(self) -> None:
        """Begins the next row."""
        if self._rows:
            self._reach_down(self._rows[-1])
        self._rows.append([])

    def cell(self, text: str, columns: int = 1, rows: int = 1) -> None:
        """The next cell of the row; `columns` and `rows` are its spans."""
        row = self._rows[-1]
        self._reach_down(row)
        if len(row) >= MAX_COLUMNS:
            return
        if rows > 1:
            self._open[len(row)] = (min(rows, _MAX_ROW_SPAN) - 1, text)
        row.append(text)
        row.extend([""] * min(columns - 1, MAX_COLUMNS - len(row)))

    def rows(self) -> list[list[str]]:
        if self._rows:
            self._reach_down(self._rows[-1])
        return self._rows

    def _reach_down(self, row: list[str]) -> None:
        """Cells of earlier rows that span this one, where it has come to their column."""
        while (spanned := self._open.pop(len(row), None)) is not None:
            left, text = spanned
            if left > 1:
                self._open[len(row)] = (left - 1, text)
            row.append(text)


def markdown_table(rows: Iterable[Sequence[str]], *, max_chars: int = MAX_CHARS) -> str:
    """One row per line, the first as header, pipes escaped, empty columns left out; "" where no cell holds
    text.

    The header is as wide as the widest row. Body rows end at their last filled cell, which GitHub's dialect
    allows, so that one very wide row does not multiply with many short ones.
    """
    lines: list[list[str]] = []
    filled: set[int] = set()
    size = 0
    for row in rows:
        cells = _cells(row)
        if not cells:
            continue
        filled.update(at for at, cell in enumerate(cells) if cell)
        size += sum(map(len, cells)) + 3 * len(cells)
        if size > max_chars:
            raise DocumentError(
                "too_large",
                f"A table holds more than {max_chars:,} characters. Split the document into smaller files.",
            )
        lines.append(cells)
    return _render(lines, sorted(filled)) if lines else ""


def _cells(row: Sequence[str]) -> list[str]:
    cells = [fold(cell).replace("|", "\\|") for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _render(lines: list[list[str]], columns: list[int]) -> str:
    width = max(map(len, lines))
    if len(columns) < width:
        lines = [[row[at] for at in columns if at < len(row)] for row in lines]
        width = len(columns)
    header = lines[0] + [""] * (width - len(lines[0]))
    return "\n".join([_line(header), "|" + " --- |" * width, *map(_line, lines[1:])])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
