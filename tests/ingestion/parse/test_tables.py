import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import fold
from ingestion.parse.tables import Grid, markdown_table
from rag.errors import DocumentError

cells = st.lists(st.lists(st.text(max_size=12), max_size=5), max_size=6)


def split_row(line: str) -> list[str]:
    inner = re.split(r"(?<!\\)\|", line)[1:-1]
    return [cell.strip().replace("\\|", "|") for cell in inner]


@given(cells)
def test_every_filled_cell_survives(rows: list[list[str]]) -> None:
    rows = [[cell.replace("\\", "/") for cell in row] for row in rows]
    wanted = [cell for row in rows for cell in map(fold, row) if cell]
    table = markdown_table(rows)
    lines = table.split("\n")
    found = [cell for line in [*lines[:1], *lines[2:]] for cell in split_row(line) if cell] if table else []
    assert found == wanted


def test_ragged_rows_get_a_header_of_full_width() -> None:
    assert markdown_table([["a"], ["b", "c|d"], ["", ""], ["e", "f\ng", "h"]]) == (
        "| a |  |  |\n| --- | --- | --- |\n| b | c\\|d |\n| e | f g | h |"
    )


def test_empty_columns_vanish() -> None:
    assert markdown_table([["a", "", "b"], ["c", "", "d"]]) == "| a | b |\n| --- | --- |\n| c | d |"


def test_nothing_is_no_table() -> None:
    assert markdown_table([["", " "], []]) == ""


def test_size_is_bounded() -> None:
    with pytest.raises(DocumentError) as refused:
        markdown_table((["x" * 100] for _ in range(100)), max_chars=1000)
    assert refused.value.code == "too_large"


def test_spans() -> None:
    grid = Grid()
    grid.row()
    grid.cell("tall", rows=3)
    grid.cell("wide", columns=2)
    grid.row()
    grid.cell("b")
    grid.cell("c", rows=2)
    grid.row()
    grid.cell("d")
    assert grid.rows() == [["tall", "wide", ""], ["tall", "b", "c"], ["tall", "d", "c"]]


def test_a_huge_span_stays_small() -> None:
    grid = Grid()
    grid.row()
    for _ in range(50):
        grid.cell("x", columns=10**9, rows=10**9)
    assert len(grid.rows()[0]) <= 16_384
