from pathlib import Path

import pypdfium2
import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from ingestion.parse import pdf
from ingestion.parse.pdf import parse_pdf
from tests.ingestion.parse.builders import CORPUS, Maker, kinds, pdf_bytes, refusal, show

BODY = b"".join(show(f"Body line {at} with a number of ordinary words in it.", y=600 - 14 * at) for at in range(12))


@pytest.fixture(autouse=True)
def no_ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result on machines with and without tesseract."""
    monkeypatch.setenv("PATH", "/nonexistent")


def test_headings_by_size_and_paragraphs_by_gap(make: Maker) -> None:
    content = show("A Large Title", size=24, y=740) + BODY + show("Second paragraph after a gap.", y=380)
    document = parse_pdf(make("a.pdf", pdf_bytes([content])))
    found = kinds(document)
    assert found[0] == ("heading", "A Large Title")
    assert found[1][1].startswith("Body line 0")
    assert found[1][1].endswith("Body line 11 with a number of ordinary words in it.")
    assert found[2] == ("paragraph", "Second paragraph after a gap.")
    assert document.blocks[2].headings == ("A Large Title",)


def test_pages_in_are_pages_accounted_for(make: Maker) -> None:
    pages = [show("First page text, long enough to be no stamp."), None, BODY, BODY]
    document = parse_pdf(make("a.pdf", pdf_bytes(pages, missing=frozenset({2}))))
    assert document.page_outcomes == ("text", "blank", "failed", "text")
    assert [number for _, number in document.pages] == [1, 2, 3, 4]
    assert document.text[document.pages[3][0] :].startswith("Body line 0")


def test_all_pages_failed_is_corrupt(make: Maker) -> None:
    path = make("a.pdf", pdf_bytes([BODY, BODY], missing=frozenset({0, 1})))
    assert refusal(parse_pdf, path) == "corrupt_document"


def test_all_blank_is_empty(make: Maker) -> None:
    assert refusal(parse_pdf, make("a.pdf", pdf_bytes([None, None]))) == "empty_document"


def test_passwords(tmp_path: Path) -> None:
    for name, user in (("user", "secret"), ("owner", "")):
        lock = StandardEncryption(user, ownerPassword="owner", strength=128)
        canvas = Canvas(str(tmp_path / f"{name}.pdf"), encrypt=lock)
        canvas.drawString(72, 700, "Only for readers who may see these words.")
        canvas.save()
    assert refusal(parse_pdf, tmp_path / "user.pdf") == "needs_password"
    assert "may see these words" in parse_pdf(tmp_path / "owner.pdf").text


def test_scans_need_ocr_and_say_so() -> None:
    assert refusal(parse_pdf, CORPUS / "loremipsum-flat.pdf") == "needs_ocr"


def test_a_scanned_page_among_others_is_not_called_blank(tmp_path: Path) -> None:
    path = tmp_path / "mixed.pdf"
    canvas = Canvas(str(path), pagesize=(600, 800))
    canvas.drawString(72, 700, "A page with text that is long enough to count as such.")
    canvas.showPage()
    canvas.drawImage(str(CORPUS / "typewriter.png"), 0, 0, 600, 800)
    canvas.showPage()
    canvas.drawImage(str(CORPUS / "typewriter.png"), 10, 10, 60, 80)
    canvas.save()
    assert parse_pdf(path).page_outcomes == ("text", "failed", "blank")


def test_damage_is_corrupt(make: Maker) -> None:
    assert refusal(parse_pdf, CORPUS / "invalid.pdf") == "corrupt_document"
    assert refusal(parse_pdf, make("a.pdf", b"%PDF-1.7\n" + b"junk" * 100)) == "corrupt_document"


def test_page_count_is_bounded(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    assert refusal(parse_pdf, make("a.pdf", pdf_bytes([BODY] * 3))) == "too_large"


def test_text_is_bounded(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_CHARS", 1000)
    assert refusal(parse_pdf, make("a.pdf", pdf_bytes([BODY] * 3))) == "too_large"


def test_one_page_is_open_at_a_time(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is closed before the next is opened: memory does not grow with the number of pages."""
    open_pages = 0
    most = 0
    get_page, close = pypdfium2.PdfDocument.get_page, pypdfium2.PdfPage.close

    def opening(self: pypdfium2.PdfDocument, index: int) -> pypdfium2.PdfPage:
        nonlocal open_pages, most
        page = get_page(self, index)
        open_pages += 1
        most = max(most, open_pages)
        return page

    def closing(self: pypdfium2.PdfPage, *arguments: object) -> None:
        nonlocal open_pages
        open_pages -= 1
        close(self, *arguments)

    monkeypatch.setattr(pypdfium2.PdfDocument, "__getitem__", opening)
    monkeypatch.setattr(pypdfium2.PdfPage, "close", closing)
    document = parse_pdf(make("a.pdf", pdf_bytes([BODY] * 50)))
    assert document.page_count == 50
    assert (most, open_pages) == (1, 0)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("frame\ufffeworks", "frameworks"),
        ("1990\ufffe1995", "1990-1995"),
        ("end\ufffe", "end-"),
        ("Übe\ufffeßen", "Übeßen"),
    ],
)
def test_hyphens_at_line_ends(raw: str, words: str) -> None:
    assert pdf._join_hyphens(raw) == words


def test_real_reading_order_and_scripts() -> None:
    assert "انواع الخطوط العربية" in parse_pdf(CORPUS / "ArabicCIDTrueType.pdf").text
    assert "あいうえお" in parse_pdf(CORPUS / "noembed-eucjp.pdf").text
    columns = parse_pdf(CORPUS / "tracemonkey.pdf")
    assert ("heading", "Abstract") in kinds(columns)
