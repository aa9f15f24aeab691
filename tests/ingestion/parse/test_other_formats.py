import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import Canonical
from ingestion.parse.epub import parse_epub
from ingestion.parse.mime import ODP, ODS
from ingestion.parse.ocr import parse_image
from ingestion.parse.opendocument import parse_opendocument
from ingestion.parse.registry import parse, supported_types
from ingestion.parse.rtf import _Reader, parse_rtf
from tests.ingestion.parse.builders import CORPUS, Maker, ZipMaker, kinds, refusal

OFFICE = 'xmlns:office="o" xmlns:text="t" xmlns:table="b" xmlns:draw="d"'


def content(inner: str) -> str:
    return f"<office:document-content {OFFICE}><office:body>{inner}</office:body></office:document-content>"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (rb"{\rtf1\ansi caf\'e9 \b bold\b0\par next}", "café bold\n\nnext"),
        (rb"{\rtf1\ansi\ansicpg1251 \'cf\'f0}", "Пр"),
        (rb"{\rtf1{\fonttbl{\f1\fcharset128 X;}}\f1 \'93\'fa\'96\'7b}", "日本"),
        (rb"{\rtf1\uc1 \u8364?\u-10179?\u-9216? x}", "€\U0001f400 x"),
        (rb"{\rtf1\uc0 \u233 t\u233}", "été"),
        (rb"{\rtf1 seen{\*\hidden unseen}{\pict 0a0b} end}", "seen end"),
        (rb"{\rtf1 a\bin4 {}\}}b}", "ab"),
        (rb"{\rtf1\trowd\intbl a\cell b\cell\row\trowd\intbl c\cell d\cell\row\pard after}", "| c | d |\n\nafter"),
        (rb"{\rtf1 curly \{x\} back\\slash", "curly {x} back\\slash"),
    ],
)
def test_rtf(make: Maker, source: bytes, words: str) -> None:
    assert parse_rtf(make("a.rtf", source)).text.endswith(words)


def test_rtf_depth_is_bounded(make: Maker) -> None:
    assert refusal(parse_rtf, make("a.rtf", b"{\\rtf1 " + b"{" * 100_000)) == "corrupt_document"


@given(
    st.lists(st.sampled_from([b"{", b"}", b"\\par ", b"\\'e9", b"\\u300?", b"\\cell ", b"\\row", b"x", b"\\*", b"\\"]))
)
def test_no_rtf_fails(parts: list[bytes]) -> None:
    _Reader(Canonical()).read(b"{\\rtf1 " + b"".join(parts))


def test_odt(make_zip: ZipMaker) -> None:
    inner = (
        '<office:text><text:h text:outline-level="2">Head</text:h><text:p>a<text:s text:c="2"/>b<text:tab/>c '
        "<text:span>in</text:span> tail</text:p><text:list><text:list-item><text:p>point</text:p></text:list-item>"
        "</text:list><text:p>x<draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box></draw:frame></text:p>"
        "<table:table><table:table-row><table:table-cell><text:p>1</text:p></table:table-cell>"
        "<table:table-cell><text:p>2</text:p></table:table-cell></table:table-row></table:table></office:text>"
    )
    path = make_zip("a.odt", {"content.xml": content(inner)})
    assert kinds(parse_opendocument(path)) == [
        ("heading", "Head"),
        ("paragraph", "a  b c in tail"),
        ("list_item", "- point"),
        ("paragraph", "x"),
        ("paragraph", "boxed"),
        ("table", "| 1 | 2 |\n| --- | --- |"),
    ]


def test_ods_repeats_are_bounded(make_zip: ZipMaker) -> None:
    cell = '<table:table-cell table:number-columns-repeated="900000000"><text:p>{}</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="3">{cell.format("v")}{cell.format("")}</table:table-row>'
    empty = f'<table:table-row table:number-rows-repeated="1048576">{cell.format("")}</table:table-row>'
    inner = f'<office:spreadsheet><table:table table:name="S">{row}{empty}</table:table></office:spreadsheet>'
    document = parse_opendocument(make_zip("a.ods", {"content.xml": content(inner)}))
    assert document.content_type == ODS
    assert document.text.startswith("S\n\n| v | v |")
    assert len(document.text) < 100_000


def test_odp_slides_are_pages(make_zip: ZipMaker) -> None:
    page = "<draw:page><draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame></draw:page>"
    inner = f"<office:presentation>{page.format('one')}{page.format('')}{page.format('three')}</office:presentation>"
    document = parse_opendocument(make_zip("a.odp", {"content.xml": content(inner)}))
    assert (document.content_type, document.page_outcomes) == (ODP, ("text", "blank", "text"))


def test_encrypted_and_hollow_opendocument(make_zip: ZipMaker) -> None:
    assert refusal(parse_opendocument, CORPUS / "testODTEncrypted.odt") == "needs_password"
    assert refusal(parse_opendocument, make_zip("a.odt", {"mimetype": "x"})) == "corrupt_document"


def test_epub_follows_the_spine(make_zip: ZipMaker) -> None:
    package = (
        '<package><metadata><dc:title xmlns:dc="d">Book</dc:title></metadata><manifest>'
        '<item id="a" href="a.xhtml"/><item id="b" href="sub/b%20c.xhtml"/></manifest>'
        '<spine><itemref idref="b"/><itemref idref="a"/><itemref idref="gone"/></spine></package>'
    )
    parts = {
        "META-INF/container.xml": '<container><rootfile full-path="OPS/p.opf"/></container>',
        "OPS/p.opf": package,
        "OPS/a.xhtml": "<html><body><p>second</p></body></html>",
        "OPS/sub/b c.xhtml": "<html><body><h1>first</h1></body></html>",
    }
    document = parse_epub(make_zip("a.epub", parts))
    assert (document.title, document.text) == ("Book", "first\n\nsecond")
    lock = '<encryption><CipherReference URI="OPS/a.xhtml"/></encryption>'
    locked = make_zip("b.epub", {**parts, "META-INF/encryption.xml": lock})
    assert refusal(parse_epub, locked) == "needs_password"


def test_pictures_need_ocr_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert refusal(parse_image, CORPUS / "typewriter.png") == "needs_ocr"


def test_every_type_without_a_parser_says_what_to_do(make_zip: ZipMaker) -> None:
    assert refusal(parse, CORPUS / "fake-power-point.ppt", "a.ppt") == "unsupported_document"
    assert refusal(parse, make_zip("a.zip", {"a.txt": "x"}), "a.zip") == "unsupported_document"


def test_every_detected_type_has_a_parser_or_an_answer() -> None:
    from ingestion.parse import mime, registry

    known = {value for name, value in vars(mime).items() if name.isupper() and isinstance(value, str)}
    assert known == supported_types() | set(registry._INSTEAD)
    for content_type in supported_types():
        assert callable(registry._parser(content_type))
