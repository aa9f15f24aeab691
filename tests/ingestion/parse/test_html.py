import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import Canonical
from ingestion.parse.html import parse_html, write_html
from tests.ingestion.parse.builders import Maker, refusal


def blocks(page: str) -> list[tuple[str, str]]:
    out = Canonical()
    write_html(page, out)
    document = out.build("text/html")
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def test_structure_in_reading_order() -> None:
    page = """<title>T</title><h1>One</h1><p>First <b>bold</b>ly<br>broken</p><h2>Two</h2>
    <ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=3><li>d<li>e</ol>
    <pre>code  x
      y</pre><blockquote>quote</blockquote>tail"""
    assert blocks(page) == [
        ("heading", "One"),
        ("paragraph", "First boldly\nbroken"),
        ("heading", "Two"),
        ("list_item", "- a"),
        ("list_item", "- b"),
        ("list_item", "- c"),
        ("list_item", "3. d"),
        ("list_item", "4. e"),
        ("code", "code  x\n      y"),
        ("paragraph", "quote"),
        ("paragraph", "tail"),
    ]


def test_what_no_reader_sees_is_left_out() -> None:
    page = """<head><style>p{}</style></head><nav>Home</nav><script>alert(1)</script><p hidden>h1</p>
    <div style="color:red; Display : NONE">h2</div><template>t</template><!-- c --><div role=navigation>Menu</div>
    <header>Kept header</header><p>Words</p><footer>Kept footer</footer>"""
    assert [text for _, text in blocks(page)] == ["Kept header", "Words", "Kept footer"]


def test_a_page_that_is_all_navigation_or_hidden_keeps_its_words() -> None:
    assert blocks("<nav>Only this</nav>") == [("paragraph", "Only this")]
    assert blocks('<body style="display:none"><p>Shown by script') == [("paragraph", "Shown by script")]


def test_data_tables_and_layout_tables() -> None:
    data = "<table><caption>Cap</caption><tr><th>a<th>b<tr><td rowspan=2>x<td>1|2<tr><td>3</table>"
    assert blocks(data) == [
        ("caption", "Cap"),
        ("table", "| a | b |\n| --- | --- |\n| x | 1\\|2 |\n| x | 3 |"),
    ]
    layout = "<table><tr><td>menu<td><table><tr><th>k<th>v<tr><td>1<td>2</table></td></tr></table>"
    assert blocks(layout) == [("paragraph", "menu"), ("table", "| k | v |\n| --- | --- |\n| 1 | 2 |")]
    assert blocks(f"<table><tr><td>a<td>b<tr><td>c<td>{'long ' * 400}</table>")[0] == ("paragraph", "a")


def test_twenty_thousand_levels(make: Maker) -> None:
    document = parse_html(make("a.html", "<div>" * 20_000 + "deepest words" + "</div>" * 20_000))
    assert document.text == "deepest words"


def test_deep_lists_and_tables(make: Maker) -> None:
    assert "deep" in parse_html(make("a.html", "<ul><li>" * 3000 + "deep")).text
    assert "deep" in parse_html(make("b.html", "<table><tr><td>" * 300 + "deep")).text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("<meta charset=iso-8859-1><p>fünf".encode("cp1252"), "fünf"),
        ('<?xml version="1.0" encoding="windows-1251"?><html><p>Слово'.encode("cp1251"), "Слово"),
        ("<html><p>漢字かな".encode("utf-16"), "漢字かな"),
        ("<meta charset=shift_jis><p>日本語の文章".encode("cp932"), "日本語の文章"),
        (b"<meta charset=utf-8><p>broken \xff but read; " + "żółć ".encode() * 20, "żółć"),
    ],
)
def test_encodings(make: Maker, data: bytes, words: str) -> None:
    assert words in parse_html(make("a.html", data)).text


def test_a_page_without_words_is_empty(make: Maker) -> None:
    assert refusal(parse_html, make("a.html", "<html><script>render()</script><div></div>")) == "empty_document"


def test_the_title_is_kept(make: Maker) -> None:
    assert parse_html(make("a.html", "<title> A\n title </title><p>x")).title == "A title"


@given(st.text(alphabet="<>/abpdivtrul ='\"&;!-\n", max_size=200))
def test_no_soup_fails(soup: str) -> None:
    write_html(soup, Canonical())
