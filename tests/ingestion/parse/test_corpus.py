"""Real documents through the sandbox: what must be read is read, what must be refused is refused by name."""

import csv
import unicodedata

import pytest

from ingestion.parse.sandbox import ParserPool
from rag.errors import DocumentError
from tests.ingestion.parse.builders import CORPUS

# The manifest's phrase stands in an HTML comment, or lacks the tab that the document has.
NOT_IN_THE_TEXT = {"nested.md", "handbook-872p.docx"}
REFUSED = {
    "2206.01062_pg3.pdf": "needs_password",
    "password_protected.xlsx": "needs_password",
    "testODTEncrypted.odt": "needs_password",
    "testPPT_protected_passtika.pptx": "needs_password",
    "fake-encrypted.eml": "needs_password",
    "blank.pdf": "empty_document",
    "57893-many-merges.xlsx": "empty_document",
    "invalid.pdf": "corrupt_document",
    "made_truncated.pdf": "corrupt_document",
    "xlsx-corrupted.xlsx": "corrupt_document",
    "clusterfuzz-testcase-minimized-POIXWPFFuzzer-5569740188549120.docx": "corrupt_document",
    "made_zipbomb_700MB.docx": "too_large",
    "poc-shared-strings.xlsx": "too_large",
    "fake-power-point.ppt": "unsupported_document",
    "loremipsum-flat.pdf": "needs_ocr",
    "layout-parser-paper-fast.tiff": "needs_ocr",
    "png_really.pdf": "needs_ocr",
}


def manifest() -> list[dict[str, str]]:
    with (CORPUS / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).replace("|", " ").replace(",", " ").split())


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [row for row in manifest() if row["expect"] == "text" and row["file"] not in NOT_IN_THE_TEXT]


async def test_phrases_and_pages(rows: list[dict[str, str]]) -> None:
    assert len(rows) > 70
    missed = []
    pool = ParserPool(size=2, ocr=False)
    try:
        for row in rows:
            document = await pool.parse(CORPUS / row["file"], row["file"])
            spans = [offset for offset, _ in document.pages[1:]] + [len(document.text)]
            pages = [
                number
                for (start, number), end in zip(document.pages, spans, strict=False)
                if fold(row["phrase"]) in fold(document.text[start:end])
            ]
            right_page = not row["page"] or not document.pages or int(row["page"]) in pages
            if fold(row["phrase"]) not in fold(document.text) or not right_page:
                missed.append((row["file"], row["phrase"], pages))
    finally:
        await pool.close()
    assert missed == []


async def test_refusals_by_name() -> None:
    found = {}
    pool = ParserPool(ocr=False)
    try:
        for file in REFUSED:
            with pytest.raises(DocumentError) as refused:
                await pool.parse(CORPUS / file, file)
            found[file] = refused.value.code
    finally:
        await pool.close()
    assert found == REFUSED
