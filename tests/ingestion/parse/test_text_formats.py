import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.data import parse_data_xml, parse_json, parse_jsonl
from ingestion.parse.markup import parse_markdown, write_markdown
from ingestion.parse.registry import parse
from ingestion.parse.tabular import parse_csv
from ingestion.parse.text import parse_text
from tests.ingestion.parse.builders import BILLION_LAUGHS, CORPUS, Maker, kinds, refusal


def test_markdown_structure(make: Maker) -> None:
    source = """---
title: front
---
# One *two*

Para with [link](http://x) and `code`
next line

- a
  - b
- c

1. d
2. e

```py
x = 1
```

| h1 | h2 |
|----|----|
| a\\|b | c |

> quoted

<div>html <b>block</b></div>
"""
    assert kinds(parse_markdown(make("a.md", source))) == [
        ("code", "title: front"),
        ("heading", "One two"),
        ("paragraph", "Para with link and code\nnext line"),
        ("list_item", "- a"),
        ("list_item", "- b"),
        ("list_item", "- c"),
        ("list_item", "1. d"),
        ("list_item", "2. e"),
        ("code", "x = 1"),
        ("table", "| h1 | h2 |\n| --- | --- |\n| a\\|b | c |"),
        ("paragraph", "quoted"),
        ("paragraph", "html block"),
    ]


@pytest.mark.parametrize("mark", [">", "- ", "> - "])
def test_deeply_nested_markdown_keeps_its_words(make: Maker, mark: str) -> None:
    assert "innermost" in parse_markdown(make("a.md", mark * 2000 + "innermost")).text


@given(st.lists(st.text("abc *_`#>-[]()|\n", max_size=30), max_size=8))
def test_no_markdown_fails(parts: list[str]) -> None:
    write_markdown("\n".join(parts), Canonical())


def test_text_paragraphs(make: Maker) -> None:
    document = parse_text(make("a.txt", "one\r\nstill one\r\n \t\r\n\r\ntwo\fthree"))
    assert [text for _, text in kinds(document)] == ["one\nstill one", "two", "three"]


def test_only_blanks_is_empty(make: Maker) -> None:
    assert refusal(parse_text, make("a.txt", " \n\t\n\u200b\n")) == "empty_document"


@given(st.text(max_size=300))
def test_no_word_of_a_text_is_lost(text: str) -> None:
    from ingestion.parse.text import write_text

    out = Canonical()
    write_text(text, out)
    if fold(text):
        assert fold(out.build("text/plain").text) == fold(text.replace("\f", "\n\n"))
    else:
        assert out.empty


@pytest.mark.parametrize(
    ("content", "table"),
    [
        ("a,b\n1,2\n", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("a;b\n1,5;2\n", "| a | b |\n| --- | --- |\n| 1,5 | 2 |"),
        ("a\tb\n1\t2\n", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("a|b\n1|2\n", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ("sep=:\na:b\n1:2\n", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
        ('a,b\n"x, ""y""\nz",2\n', '| a | b |\n| --- | --- |\n| x, "y" z | 2 |'),
        ("a,b\n1\n1,2,3\n", "| a | b |  |\n| --- | --- | --- |\n| 1 |\n| 1 | 2 | 3 |"),
        ("only\none\n", "| only |\n| --- |\n| one |"),
    ],
)
def test_csv(make: Maker, content: str, table: str) -> None:
    assert kinds(parse_csv(make("a.csv", content))) == [("table", table)]


@pytest.mark.parametrize("encoding", ["utf-16", "cp932", "utf-8-sig"])
def test_csv_encodings(make: Maker, encoding: str) -> None:
    rows = "名前,住所\n山田太郎,東京都千代田区\n鈴木花子,大阪府大阪市北区\n"
    assert "| 山田太郎 | 東京都千代田区 |" in parse_csv(make("a.csv", rows.encode(encoding))).text


def test_json_lines_name_the_path(make: Maker) -> None:
    source = '{"a": {"b": [1, {"c": true}], "n": null}, "d": "x"}'
    assert kinds(parse_json(make("a.json", source))) == [
        ("paragraph", "a.b[0]: 1\na.b[1].c: true"),
        ("paragraph", "d: x"),
    ]
    assert parse_json(make("b.json", '[{"k": 1}, {"k": 2}]')).text == "k: 1\n\nk: 2"
    assert parse_jsonl(make("c.jsonl", '{"k": 1}\nbroken\n{"k": 2}')).text == "k: 1\n\nbroken\n\nk: 2"


def test_json_that_holds_nothing_is_empty(make: Maker) -> None:
    assert refusal(parse_json, make("a.json", '{"a": null, "b": [], "c": ""}')) == "empty_document"


def test_deep_and_cut_json_keep_their_words(make: Maker) -> None:
    deep = "[" * 900 + '"deep"' + "]" * 900
    assert "deep" in parse(make("a.json", deep), "a.json").text
    too_deep = "[" * 90_000 + '"deep"' + "]" * 90_000
    assert "deep" in parse(make("b.json", too_deep), "b.json").text
    assert "New York" in parse(CORPUS / "fake-incomplete-json.txt", "x.txt").text


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=12,
)


@given(json_values)
def test_every_json_leaf_is_written(value: object) -> None:
    from ingestion.parse.data import _lines

    def leaves(item: object) -> int:
        if isinstance(item, dict):
            return sum(map(leaves, item.values()))
        if isinstance(item, list):
            return sum(map(leaves, item))
        return item is not None and item != ""

    assert len(list(_lines("", orjson.loads(orjson.dumps(value))))) == leaves(value)


def test_xml(make: Maker) -> None:
    source = '<r><item id="7"><name>N</name><text>mixed <b>bold</b> words</text></item><item>plain</item></r>'
    assert parse_data_xml(make("a.xml", source)).text == "item@id: 7\nname: N\ntext: mixed bold words\n\nitem: plain"


def test_xml_bombs_and_damage(make: Maker) -> None:
    document = parse(make("a.xml", BILLION_LAUGHS + "<d>words &i;</d>"), "a.xml")
    assert len(document.text) < 2000
    assert "still here" in parse(make("b.xml", '<?xml version="1.0"?><a><b>still here</a>'), "b.xml").text
    outside = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>a &x; b</d>'
    assert "root" not in parse(make("c.xml", outside), "c.xml").text
    assert "deep" in parse(make("d.xml", '<?xml version="1.0"?>' + "<a>" * 5000 + "deep"), "d.xml").text
