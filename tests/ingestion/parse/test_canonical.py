import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import Canonical, fold, normalize
from rag.errors import DocumentError

words = st.text(st.characters(exclude_categories=()), max_size=60)
step = st.one_of(
    st.tuples(st.just("heading"), st.integers(-2, 12), words),
    st.tuples(st.just("block"), st.sampled_from(["paragraph", "table", "code", "list_item"]), words),
    st.tuples(st.just("page"), st.sampled_from(["text", "blank", "failed"]), st.just("")),
)


@given(words)
def test_normalize_is_idempotent_and_clean(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert all(unicodedata.category(char) not in {"Cc", "Cs"} or char == "\n" for char in once)
    once.encode("utf-8")


@given(st.lists(step, max_size=30))
def test_blocks_and_pages_are_exact(steps: list[tuple[str, object, str]]) -> None:
    out = Canonical()
    written: list[str] = []
    number = 0
    for what, argument, text in steps:
        before = len(out._blocks)
        if what == "heading":
            out.heading(int(str(argument)), text)
        elif what == "block":
            out.block(argument, text)  # type: ignore[arg-type]
        else:
            number += 1
            out.page(number, argument)  # type: ignore[arg-type]
        if len(out._blocks) > before:
            written.append(normalize(text))
    if out.empty:
        with pytest.raises(DocumentError) as refused:
            out.build("text/plain")
        assert refused.value.code == "empty_document"
        return
    document = out.build("text/plain")
    assert normalize(document.text) == document.text
    end = 0
    for block, source in zip(document.blocks, written, strict=True):
        assert end <= block.start < block.end <= len(document.text)
        end = block.end
        assert document.text[block.start : block.end].split() == source.split()
    offsets = [offset for offset, _ in document.pages]
    assert offsets == sorted(offsets)
    assert all(0 <= offset <= len(document.text) for offset in offsets)
    assert [page for _, page in document.pages] == list(range(1, number + 1))
    assert len(document.page_outcomes) == number


def test_headings_nest_and_close() -> None:
    out = Canonical()
    out.heading(1, "A")
    out.heading(3, "B")
    out.block("paragraph", "x")
    out.heading(2, "C")
    out.heading(1, "D")
    paths = [block.headings for block in out.build("text/plain").blocks]
    assert paths == [("A",), ("A", "B"), ("A", "B"), ("A", "C"), ("D",)]


def test_a_page_begins_at_its_first_character_and_blank_pages_stand_before_the_next() -> None:
    out = Canonical()
    out.page(1, "text")
    out.block("paragraph", "one")
    out.page(2, "blank")
    out.page(3, "text")
    out.block("paragraph", "three")
    out.page(4, "blank")
    document = out.build("application/pdf")
    assert document.text == "one\n\nthree"
    assert document.pages == ((0, 1), (5, 2), (5, 3), (10, 4))
    assert document.page_outcomes == ("text", "blank", "text", "blank")
    assert document.page_count == 4


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("e\u0301", "é"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("no\u00a0break", "no break"),
        ("hidden\U000e0041\U000e0042", "hidden"),
        ("\u202eevil\u202c", "evil"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("bell\x07 nul\x00 esc\x1b[0m", "bell nul esc[0m"),
        ("lone\ud800", "lone"),
        ("a  \n\n\n\n b", "a\n\n b"),
    ],
)
def test_normalize_examples(raw: str, clean: str) -> None:
    assert normalize(raw) == clean


def test_fold_makes_one_line() -> None:
    assert fold(" a\n\n b\t c ") == "a b c"


def test_text_is_bounded() -> None:
    out = Canonical(max_chars=10)
    out.block("paragraph", "12345")
    with pytest.raises(DocumentError) as refused:
        out.block("paragraph", "6789")
    assert refused.value.code == "too_large"
