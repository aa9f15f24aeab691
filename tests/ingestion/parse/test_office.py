import io
from datetime import date, datetime
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from openpyxl.styles import numbers
from pptx.util import Inches

from ingestion.parse import pptx as slides
from ingestion.parse.docx import parse_docx
from ingestion.parse.pptx import parse_pptx
from ingestion.parse.xlsx import parse_xlsx
from tests.ingestion.parse.builders import BILLION_LAUGHS, CORPUS, RELATIONS, W, ZipMaker, kinds, refusal


def body(*parts: str) -> str:
    return f"<w:document {W}><w:body>{''.join(parts)}</w:body></w:document>"


def run(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_word_structure(tmp_path: Path) -> None:
    document = docx.Document()
    document.core_properties.title = "The title"
    document.add_heading("Chapter", 1)
    document.add_paragraph("Some words.")
    document.add_heading("Section", 2)
    document.add_paragraph("A point", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for at, text in enumerate(["h1", "h2", "a|b", "c"]):
        table.cell(at // 2, at % 2).text = text
    inner = table.cell(1, 1).add_table(rows=1, cols=2)
    inner.cell(0, 0).text, inner.cell(0, 1).text = "in1", "in2"
    document.sections[0].header.paragraphs[0].text = "Running head"
    document.save(tmp_path / "a.docx")
    parsed = parse_docx(tmp_path / "a.docx")
    assert parsed.title == "The title"
    found = kinds(parsed)
    assert found[:3] == [("heading", "Chapter"), ("paragraph", "Some words."), ("heading", "Section")]
    assert ("table", "| h1 | h2 |\n| --- | --- |\n| a\\|b | c in1 in2 |") in found
    assert found[-1] == ("paragraph", "Running head")
    table_block = next(block for block in parsed.blocks if block.kind == "table")
    assert table_block.headings == ("Chapter", "Section")


def test_word_wrappers_changes_and_characters(make_zip: ZipMaker) -> None:
    content = body(
        f"<w:sdt><w:sdtPr/><w:sdtContent>{run('inside a control')}</w:sdtContent></w:sdt>",
        "<w:p><w:r><w:t>kept </w:t></w:r><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>inserted</w:t></w:r></w:ins><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom></w:p>",
        "<w:p><w:r><w:instrText>PAGEREF</w:instrText><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t>"
        '<w:noBreakHyphen/><w:t>d</w:t><w:sym w:font="Symbol" w:char="F041"/></w:r></w:p>',
        "<w:p><w:hyperlink><w:r><w:t>link text</w:t></w:r></w:hyperlink></w:p>",
    )
    parsed = parse_docx(make_zip("a.docx", {"word/document.xml": content}))
    assert [text for _, text in kinds(parsed)] == ["inside a control", "kept inserted", "a b\nc-dA", "link text"]


def test_word_text_boxes_come_once(make_zip: ZipMaker) -> None:
    box = f"<w:txbxContent>{run('boxed')}</w:txbxContent>"
    content = body(
        '<w:p><w:r><w:t>anchor</w:t></w:r><w:r><mc:AlternateContent xmlns:mc="m">'
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    parsed = parse_docx(make_zip("a.docx", {"word/document.xml": content}))
    assert [text for _, text in kinds(parsed)] == ["anchor", "boxed"]


def test_word_notes_and_alternative_bodies(make_zip: ZipMaker) -> None:
    relations = (
        f'<Relationships><Relationship Id="r1" Type="{RELATIONS}/footnotes" Target="footnotes.xml"/>'
        f'<Relationship Id="r2" Type="{RELATIONS}/aFChunk" Target="/chunk.html"/></Relationships>'
    )
    parts = {
        "word/document.xml": body(run("body"), f'<w:altChunk xmlns:r="{RELATIONS}" r:id="r2"/>'),
        "word/_rels/document.xml.rels": relations,
        "word/footnotes.xml": f'<w:footnotes {W}><w:footnote w:type="separator">{run("sep")}</w:footnote>'
        f"<w:footnote>{run('a note')}</w:footnote></w:footnotes>",
        "chunk.html": "<h1>From HTML</h1><p>kept elsewhere</p>",
    }
    parsed = parse_docx(make_zip("a.docx", parts))
    assert [text for _, text in kinds(parsed)] == ["body", "From HTML", "kept elsewhere", "a note"]


def test_word_vertical_merges_repeat(make_zip: ZipMaker) -> None:
    def cell(text: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{run(text)}</w:tc>"

    restart, go_on = '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    rows = f"<w:tr>{cell('year', restart)}{cell('q1')}</w:tr><w:tr>{cell('', go_on)}{cell('q2')}</w:tr>"
    parsed = parse_docx(make_zip("a.docx", {"word/document.xml": body(f"<w:tbl>{rows}</w:tbl>")}))
    assert parsed.text.endswith("| year | q2 |")


def test_circular_styles_end(make_zip: ZipMaker) -> None:
    styles = (
        f'<w:styles {W}><w:style w:styleId="A"><w:basedOn w:val="B"/></w:style>'
        '<w:style w:styleId="B"><w:basedOn w:val="A"/></w:style></w:styles>'
    )
    relations = f'<Relationships><Relationship Id="r" Type="{RELATIONS}/styles" Target="styles.xml"/></Relationships>'
    paragraph = '<w:p><w:pPr><w:pStyle w:val="A"/></w:pPr><w:r><w:t>plain</w:t></w:r></w:p>'
    parts = {
        "word/document.xml": body(paragraph),
        "word/styles.xml": styles,
        "word/_rels/document.xml.rels": relations,
    }
    assert kinds(parse_docx(make_zip("a.docx", parts))) == [("paragraph", "plain")]


def test_entities_are_not_expanded(make_zip: ZipMaker) -> None:
    bomb = BILLION_LAUGHS + body("<w:p><w:r><w:t>before &i; after</w:t></w:r></w:p>")
    assert refusal(parse_docx, make_zip("a.docx", {"word/document.xml": bomb})) == "corrupt_document"
    tame = '<!DOCTYPE d [<!ENTITY x "expanded">]>' + body(run("here: &x; end"))
    assert "expanded" not in parse_docx(make_zip("c.docx", {"word/document.xml": tame})).text
    secret = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + body(run("here: &x; end"))
    assert "root" not in parse_docx(make_zip("b.docx", {"word/document.xml": secret})).text


def test_deep_xml_is_refused_not_crashed(make_zip: ZipMaker) -> None:
    deep = body("<w:sdt>" * 5000 + run("x") + "</w:sdt>" * 5000)
    assert refusal(parse_docx, make_zip("a.docx", {"word/document.xml": deep})) == "corrupt_document"


def test_word_without_words_is_empty(make_zip: ZipMaker) -> None:
    assert refusal(parse_docx, make_zip("a.docx", {"word/document.xml": body("<w:p/>")})) == "empty_document"


def test_an_office_file_without_its_main_part_is_corrupt(make_zip: ZipMaker) -> None:
    path = make_zip("a.docx", {"word/other.xml": "<x/>"})
    for parser in (parse_docx, parse_pptx, parse_xlsx):
        assert refusal(parser, path) == "corrupt_document"


def test_equations_and_python_docx_text_boxes_keep_their_words(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("E = ")
    math = '<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:r><m:t>mc2</m:t></m:r></m:oMath>'
    paragraph._p.append(parse_xml(math))
    document.save(tmp_path / "a.docx")
    assert "E = mc2" in parse_docx(tmp_path / "a.docx").text


def test_slides_are_pages(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Opening"
    first.placeholders[1].text = "Point one\nPoint two"
    first.notes_slide.notes_text_frame.text = "Say hello"
    deck.slides.add_slide(deck.slide_layouts[6])
    third = deck.slides.add_slide(deck.slide_layouts[6])
    table = third.shapes.add_table(2, 2, 0, 0, Inches(4), Inches(2)).table
    for at, text in enumerate(["a", "b", "1", "2"]):
        table.cell(at // 2, at % 2).text = text
    group = third.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "In a group"
    deck.save(str(tmp_path / "a.pptx"))
    parsed = parse_pptx(tmp_path / "a.pptx")
    assert parsed.page_outcomes == ("text", "blank", "text")
    assert kinds(parsed) == [
        ("heading", "Opening"),
        ("list_item", "- Point one"),
        ("list_item", "- Point two"),
        ("paragraph", "Say hello"),
        ("table", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("paragraph", "In a group"),
    ]
    assert parsed.text[parsed.pages[2][0] :].startswith("| a | b |")


def test_slides_follow_the_order_of_the_show(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    for text in ("one", "two"):
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = text
    order = deck.slides._sldIdLst
    order.insert(0, order[1])
    deck.save(str(tmp_path / "a.pptx"))
    assert parse_pptx(tmp_path / "a.pptx").text == "two\n\none"


def test_a_broken_slide_fails_alone(tmp_path: Path, make_zip: ZipMaker) -> None:
    import zipfile

    deck = pptx.Presentation()
    for text in ("one", "two"):
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = text
    memory = io.BytesIO()
    deck.save(memory)
    with zipfile.ZipFile(memory) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["ppt/slides/slide1.xml"] = b"<p:sld>cut off"
    parsed = parse_pptx(make_zip("a.pptx", parts))
    assert parsed.page_outcomes == ("failed", "text")
    assert parsed.text == "two"


def test_charts_and_diagrams() -> None:
    assert "VP - Marketing" in parse_pptx(CORPUS / "testPPT_diagramData.pptx").text


def test_slide_count_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides, "MAX_SLIDES", 1)
    assert refusal(parse_pptx, CORPUS / "fake-power-point-many-pages.pptx") == "too_large"


def test_sheets_show_what_a_person_sees(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Sales"
    sheet.append(["Date", "Amount", "Share", "Done"])
    sheet.append([date(2023, 6, 30), 1234.5, 0.256, True])
    sheet.append([datetime.fromisoformat("2024-02-29T13:30"), 0.1 + 0.2, -1, None])
    sheet["B2"].number_format = numbers.FORMAT_NUMBER_COMMA_SEPARATED1
    sheet["C2"].number_format = numbers.FORMAT_PERCENTAGE_00
    sheet["A3"].number_format = "yyyy-mm-dd hh:mm"
    sheet["F9"] = "far | away"
    book.create_sheet("Empty")
    book.create_sheet("Other")["A1"] = "alone"
    book.save(tmp_path / "a.xlsx")
    parsed = parse_xlsx(tmp_path / "a.xlsx")
    assert kinds(parsed) == [
        ("heading", "Sales"),
        (
            "table",
            "| Date | Amount | Share | Done |  |\n| --- | --- | --- | --- | --- |\n"
            "| 2023-06-30 | 1,234.50 | 25.60% | TRUE |\n| 2024-02-29 13:30 | 0.3 | -1 |\n"
            "|  |  |  |  | far \\| away |",
        ),
        ("heading", "Other"),
        ("table", "| alone |\n| --- |"),
    ]


def test_a_workbook_without_values_is_empty(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    assert refusal(parse_xlsx, tmp_path / "a.xlsx") == "empty_document"


def test_one_shared_string_in_many_cells_is_refused() -> None:
    assert refusal(parse_xlsx, CORPUS / "poc-shared-strings.xlsx") == "too_large"


def test_bad_references_do_not_crash(make_zip: ZipMaker) -> None:
    cells = (
        '<c t="s"><v>99</v></c><c t="s"><v>-1</v></c><c r="ZZZ1"><v>5</v></c><c r="B1" s="77"><v>1</v></c>'
        '<c r="??" t="n"><v>NaN</v></c><c t="inlineStr"><is><t>in</t></is></c><c t="e"><v>#REF!</v></c>'
    )
    relations = (
        f'<Relationships><Relationship Id="r1" Type="{RELATIONS}/worksheet" Target="sheet.xml"/></Relationships>'
    )
    parts = {
        "xl/workbook.xml": f'<workbook xmlns:r="{RELATIONS}"><sheets><sheet name="S" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": relations,
        "xl/sheet.xml": f"<worksheet><sheetData><row>{cells}</row><row><c><v>7</v></c></row></sheetData></worksheet>",
    }
    assert "7" in parse_xlsx(make_zip("a.xlsx", parts)).text
