"""The committed documents are what the sources say, and the questions can be answered from them."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from handbook_reading import Pages, read, squeeze
from handbook_source.blocks import (
    Block,
    Bullets,
    Deck,
    Document,
    Heading,
    PageBreak,
    Records,
    Table,
    Text,
    Workbook,
)
from handbook_source.catalogue import HANDBOOK
from make_handbook import FOLDER, main, render

NAMES = [item.name for item in HANDBOOK]
QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (FOLDER / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]
ANSWERABLE = [question for question in QUESTIONS if question["file"]]


@cache
def rendered(name: str) -> bytes:
    return render(next(item for item in HANDBOOK if item.name == name))


@cache
def committed(name: str) -> Pages:
    return read(name, (FOLDER / name).read_bytes())


# the documents -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_the_committed_file_says_what_the_source_says(name: str) -> None:
    assert committed(name) == read(name, rendered(name))


@pytest.mark.parametrize("item", HANDBOOK, ids=NAMES)
def test_rendering_twice_gives_the_same_bytes(item: Document) -> None:
    assert render(item) == rendered(item.name)


def test_the_folder_holds_the_documents_and_the_questions_only() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*NAMES, "questions.jsonl"}


def test_every_format_of_the_brief_is_there() -> None:
    suffixes = Counter(Path(name).suffix for name in NAMES)
    assert suffixes == {
        ".pdf": 3,
        ".docx": 2,
        ".pptx": 1,
        ".xlsx": 2,
        ".html": 2,
        ".md": 2,
        ".csv": 1,
        ".txt": 2,
    }


def _strings(block: Block) -> list[str]:
    match block:
        case Heading() | Text():
            return [block.text]
        case Bullets():
            return list(block.items)
        case Table():
            return [cell for row in (block.header, *block.rows) for cell in row]
        case PageBreak():
            return []


def _all_strings(item: Document | Deck | Workbook | Records) -> list[str]:
    match item:
        case Document():
            return [item.title, item.subtitle, *(s for block in item.blocks for s in _strings(block))]
        case Deck():
            return [s for slide in item.slides for block in slide.blocks for s in (slide.title, *_strings(block))]
        case Workbook():
            return [
                f"{cell:g}" if isinstance(cell, float) else str(cell)
                for sheet in item.sheets
                for row in sheet.rows
                for cell in row
            ]
        case Records():
            return [cell for row in (item.header, *item.rows) for cell in row]


@pytest.mark.parametrize("item", HANDBOOK, ids=NAMES)
def test_no_word_is_lost_in_rendering(item: Document) -> None:
    text = " ".join(committed(item.name)).casefold()
    # reportlab may break a cell inside its words only at spaces, so the folded text holds each string whole
    missing = [s for s in _all_strings(item) if squeeze(s).casefold() not in text]
    assert missing == []


@pytest.mark.parametrize("name", [n for n in NAMES if Path(n).suffix in (".docx", ".pptx", ".xlsx")])
def test_an_office_file_holds_no_clock(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(rendered(name))) as package:
        assert {entry.date_time for entry in package.infolist()} == {(2027, 1, 15, 9, 0, 0)}
        assert package.namelist()[0] == "[Content_Types].xml"
        core = package.read("docProps/core.xml").decode()
    assert core.count("2027-01-15T09:00:00Z") == 2


@pytest.mark.parametrize(
    ("name", "pages"), [("staff-handbook.pdf", 6), ("safety-manual.pdf", 5), ("passenger-charter.pdf", 2)]
)
def test_page_breaks_stand_where_the_source_puts_them(name: str, pages: int) -> None:
    texts = committed(name)
    assert len(texts) == pages
    assert all(f"Page {number}" in text for number, text in enumerate(texts, start=1))


def test_one_text_has_letters_beyond_ascii_and_one_is_german() -> None:
    assert "Bäckström" in committed("duty-desk-notes.txt")[0]
    assert "Frühstück" in committed("gaestehaus-seeschwalbe.txt")[0]


def test_main_writes_all_files_into_a_folder(tmp_path: Path) -> None:
    main([str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(NAMES)


# the questions -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda q: q["id"])
def test_the_fact_stands_in_the_named_file_and_page(question: dict[str, Any]) -> None:
    pages = committed(question["file"])
    text = pages[question["page"] - 1] if question["page"] else " ".join(pages)
    assert question["fact"] in text


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda q: q["id"])
def test_the_fact_stands_in_no_other_file(question: dict[str, Any]) -> None:
    others = [name for name in NAMES if name != question["file"] and _holds(name, question["fact"])]
    assert others == []


def _holds(name: str, fact: str) -> bool:
    return fact in " ".join(committed(name))


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda q: q["id"])
def test_a_page_is_named_exactly_where_the_format_has_pages(question: dict[str, Any]) -> None:
    assert (question["page"] is not None) == (Path(question["file"]).suffix in (".pdf", ".pptx"))


def test_the_questions_cover_every_file_and_every_kind() -> None:
    kinds = Counter(question["kind"] for question in QUESTIONS)
    assert {question["file"] for question in ANSWERABLE} == set(NAMES)
    assert kinds["unanswerable"] == 3
    assert kinds["follow_up"] == 2
    assert kinds["table"] >= 5
    assert kinds["number"] >= 5
    assert len({question["id"] for question in QUESTIONS}) == len(QUESTIONS)


def test_follow_ups_bring_their_history_and_unanswerable_ones_no_fact() -> None:
    for question in QUESTIONS:
        assert ("history" in question) == (question["kind"] == "follow_up")
        assert (question["fact"] is None) == (question["kind"] == "unanswerable")
