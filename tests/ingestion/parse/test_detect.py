import random

import pytest

from ingestion.parse import mime
from ingestion.parse.detect import detect
from tests.ingestion.parse.builders import CORPUS, Maker, ZipMaker, pdf_bytes, refusal

MAIL = "From: a@example.org\nTo: b@example.org\nSubject: Hi\n\nBody\n"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pdf_really.docx", mime.PDF),
        ("pdf_really.txt", mime.PDF),
        ("odt_really.docx", mime.ODT),
        ("png_really.pdf", mime.PNG),
        ("xlsx_really.csv", mime.XLSX),
        ("eml_really.txt", mime.EML),
        ("csv_really.json", mime.CSV),
        ("fake-power-point.ppt", mime.PPT),
        ("fake-email.msg", mime.MSG),
        ("fake-email-utf-16-be.eml", mime.EML),
        ("layout-parser-paper-fast.tiff", mime.TIFF),
        ("winter-sports.epub", mime.EPUB),
        ("eng_spa_mult.rtf", mime.RTF),
        ("Strict.docx", mime.DOCX),
    ],
)
def test_real_files_by_content(file: str, expected: str) -> None:
    assert detect(CORPUS / file, file) == expected
    assert detect(CORPUS / file, "no-name") == expected


@pytest.mark.parametrize("file", ["password_protected.xlsx", "testPPT_protected_passtika.pptx"])
def test_encrypted_office_files(file: str) -> None:
    assert refusal(detect, CORPUS / file, file) == "needs_password"


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("<!DOCTYPE html><p>x", "a.txt", mime.HTML),
        ("\n<!-- note -->\n<html><body>x", "a.xml", mime.HTML),
        ('<?xml version="1.0"?><!DOCTYPE html><html xmlns="x"><body/></html>', "a.xml", mime.HTML),
        ('<?xml version="1.0"?><data>x</data>', "a.txt", mime.XML),
        ("<svg xmlns='http://www.w3.org/2000/svg'><text>x</text></svg>", "a", mime.XML),
        ("<p>A fragment</p>", "a.html", mime.HTML),
        ("No markup here at all", "a.html", mime.TEXT),
        ('{"a": 1}', "a.csv", mime.JSON),
        ('{"a": 1}\n{"a": 2}\n', "a.json", mime.JSONL),
        ('{"a": [1, 2', "a.json", mime.TEXT),
        ("[link](x) text", "a.md", mime.MARKDOWN),
        ("# Title\n\ntext", "a.md", mime.MARKDOWN),
        ("# Title\n\ntext", "a", mime.TEXT),
        ("<p align=center>Logo</p>\n\n# Title\n\nplain words\n\nmore words", "README.md", mime.MARKDOWN),
        ("a;b;c\n1;2;3\n4;5;6\n", "export", mime.CSV),
        ("a;b;c\n1;2;3\n4;5;6\n", "notes.txt", mime.TEXT),
        ("a,b\n1,2,3\n", "a.csv", mime.CSV),
        ("Hello, world.\nSecond, line, here.\nThird line.\n", "a", mime.TEXT),
        (MAIL, "a.txt", mime.EML),
        ("Note: this is prose.\nTo: nobody\n\nx", "a.txt", mime.TEXT),
        ("From: the beginning\nwe knew it was prose\n", "a.txt", mime.TEXT),
        (MAIL.encode("utf-16"), "a", mime.EML),
    ],
)
def test_text_formats(make: Maker, content: str | bytes, name: str, expected: str) -> None:
    assert detect(make("file", content), name) == expected


def test_a_long_json_file_is_recognised_by_its_beginning(make: Maker) -> None:
    assert detect(make("f", "[" + '{"a": "bcdefgh"},\n' * 40_000 + "{}]"), "f.json") == mime.JSON
    assert detect(make("g", '{"a": "bcdefgh"}\n' * 40_000), "f.txt") == mime.JSONL


def test_empty_and_garbage(make: Maker) -> None:
    assert refusal(detect, make("empty", b""), "a.pdf") == "empty_document"
    assert refusal(detect, make("noise", random.Random(7).randbytes(20_000)), "a.txt") == "unsupported_document"
    assert refusal(detect, make("gz", b"\x1f\x8b\x08\x00" + bytes(100)), "a.txt") == "unsupported_document"


def test_junk_before_a_pdf_header(make: Maker) -> None:
    assert detect(make("f", b"\0junk\n" + pdf_bytes([None])), "f") == mime.PDF


def test_zip_containers(make_zip: ZipMaker) -> None:
    assert detect(make_zip("a", {"readme.txt": "x"}), "a.docx") == mime.ZIP
    assert detect(make_zip("b", {"word/document.xml": "<x/>"}), "b.zip") == mime.DOCX
    assert detect(make_zip("c", {"xl/workbook.bin": "x"}), "c.xlsx") == mime.XLSB
    assert detect(make_zip("d", {"mimetype": mime.ODS, "content.xml": "<x/>"}), "d") == mime.ODS


def test_a_broken_container_is_corrupt(make: Maker) -> None:
    whole = (CORPUS / "teams_chat.docx").read_bytes()
    assert refusal(detect, make("cut", whole[:900]), "a.docx") == "corrupt_document"
    assert refusal(detect, make("ole", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)), "a.doc") == "corrupt_document"
