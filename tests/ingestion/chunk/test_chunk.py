import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.chunk import chunk
from ingestion.chunk.tokens import Tokens
from ingestion.parse.elements import Block, BlockKind, ParsedDocument
from ingestion.records import ChunkingStrategy, ChunkingType
from rag.errors import InvalidRequest
from rag.types import Chunk

AVAILABLE: tuple[ChunkingType, ...] = ("recursive", "fixed_size", "sentence")
_SUBWORD = re.compile(r"[^\W_]{1,6}|[^\w\s]|_")


def subwords(text: str) -> list[tuple[int, int]]:
    """Words in pieces of six letters, signs alone; invisible characters are no tokens."""
    return [found.span() for found in _SUBWORD.finditer(text) if found.group() not in "\u200b\u00ad"]


def build(*parts: tuple[BlockKind | None, str], gap: str = "\n\n", pages: Sequence[int] = ()) -> ParsedDocument:
    """A document of blocks (kind None: text that no block covers)."""
    text, blocks, path = "", list[Block](), tuple[str, ...]()
    for kind, part in parts:
        if kind == "heading":
            path = (part,)
        if kind is not None:
            blocks.append(Block(kind, len(text), len(text) + len(part), path))
        text += part + gap
    return ParsedDocument(text, tuple(blocks), tuple((start, n + 1) for n, start in enumerate(pages)))


def check(document: ParsedDocument, strategy: ChunkingStrategy) -> list[Chunk]:
    """Every promise of `chunk`."""
    text = document.text
    chunks = chunk(document, strategy, subwords)
    counted = Tokens(text, subwords)
    assert [c.n for c in chunks] == list(range(len(chunks)))
    covered = bytearray(len(text))
    for c in chunks:
        assert text[c.start : c.end] == c.text == c.text.strip() != ""
        assert counted.count(c.start, c.end) <= strategy.chunk_size
        assert len(subwords(c.text)) <= strategy.chunk_size
        covered[c.start : c.end] = b"\1" * (c.end - c.start)
        expected = [page for page in document.pages if c.start < page[0] < c.end]
        begun = [page for page in document.pages if page[0] <= c.start][-1:]
        assert list(c.pages) == begun + expected
    assert all(covered[n] or char.isspace() for n, char in enumerate(text))
    for left, right in itertools.pairwise(chunks):
        assert left.start < right.start
        assert left.end < right.end
        if right.start < left.end:
            assert counted.count(right.start, left.end) <= strategy.chunk_overlap
    return chunks


TERMS = st.sampled_from(
    [
        "a",
        "Term",
        "überaus",
        "42",
        "3.5",
        "x.",
        "Ende.",
        "费用",
        "\u200b",
        "foo_bar",
        "!",
        "日本語。はい",
        "e\u0301",
        "x" * 70,
    ]
)
KINDS: st.SearchStrategy[BlockKind | None] = st.sampled_from(
    ["heading", "paragraph", "paragraph", "list_item", "table", "code", "caption", None]
)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    parts: list[tuple[BlockKind | None, str]] = []
    for kind in draw(st.lists(KINDS, max_size=8)):
        words = draw(st.lists(TERMS, min_size=1, max_size=6 if kind in ("heading", "table") else 30))
        if kind == "table":
            row = " | ".join(words)
            parts.append((kind, "\n".join([f"| {row} |"] * draw(st.integers(1, 4)))))
        else:
            parts.append((kind, draw(st.sampled_from([" ", "\n", "  ", ""])).join(words)))
    document = build(*parts, gap=draw(st.sampled_from(["\n\n", "\n", "\n \n\n"])))
    starts = draw(st.lists(st.integers(0, max(len(document.text) - 1, 0)), max_size=3, unique=True))
    pages = tuple((start, n + 1) for n, start in enumerate(sorted({0, *starts}))) if starts else ()
    return ParsedDocument(document.text, document.blocks, pages)


@settings(deadline=None, max_examples=250)
@given(documents(), st.sampled_from(AVAILABLE), st.sampled_from([1, 2, 5, 12, 40, 512]), st.floats(0, 0.99))
def test_every_promise_holds(document: ParsedDocument, kind: ChunkingType, size: int, share: float) -> None:
    check(document, ChunkingStrategy(kind, size, int(size * share)))


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200), st.sampled_from(AVAILABLE), st.integers(1, 20))
def test_any_text_without_blocks(text: str, kind: ChunkingType, size: int) -> None:
    check(ParsedDocument(text, ()), ChunkingStrategy(kind, size, size // 3))


@settings(deadline=None, max_examples=120)
@given(documents(), st.integers(30, 80))
def test_a_heading_never_ends_a_chunk_that_something_follows(document: ParsedDocument, size: int) -> None:
    chunks = check(document, ChunkingStrategy("recursive", size, size // 8))
    for c in chunks[:-1]:
        inside = [block for block in document.blocks if c.start <= block.start and block.end <= c.end]
        others = [block for block in inside if block.kind != "heading"]
        assert not (others and inside[-1].kind == "heading" and inside[-1].end == c.end)


@pytest.mark.parametrize("kind", ["semantic", "hierarchical"])
def test_strategies_to_come_are_refused(kind: ChunkingType) -> None:
    with pytest.raises(InvalidRequest, match="not available yet") as refused:
        chunk(ParsedDocument("a", ()), ChunkingStrategy(kind), subwords)
    assert refused.value.param == "chunking_strategy.type"


@pytest.mark.parametrize(
    ("size", "overlap", "param"), [(0, 0, "chunk_size"), (4, 4, "chunk_overlap"), (4, -1, "chunk_overlap")]
)
def test_sizes_that_make_no_sense_are_refused(size: int, overlap: int, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chunk(ParsedDocument("a", ()), ChunkingStrategy("recursive", size, overlap), subwords)
    assert refused.value.param == f"chunking_strategy.{param}"


@pytest.mark.parametrize("text", ["", " ", "\n" * 5000, "\t \u00a0\u3000\n"])
def test_nothing_gives_nothing(text: str) -> None:
    assert chunk(ParsedDocument(text, ()), ChunkingStrategy(), subwords) == []


def test_a_small_document_is_one_chunk() -> None:
    document = build(("heading", "One"), ("paragraph", "First."), ("heading", "Two"), ("paragraph", "Second."))
    (c,) = check(document, ChunkingStrategy())
    assert c.text == document.text.strip()
    assert c.headings == ("One",)


def test_sections_are_cut_at_headings_and_keep_their_path() -> None:
    prose = "One two three four five six seven eight. " * 3
    document = build(("heading", "North"), ("paragraph", prose), ("heading", "South"), ("paragraph", prose))
    chunks = check(document, ChunkingStrategy("recursive", 40, 10))
    assert [c.headings for c in chunks] == [("North",), ("South",)]
    assert [c.text.split("\n")[0] for c in chunks] == ["North", "South"]


def test_paragraphs_are_cut_between_sentences() -> None:
    prose = "Alpha beta gamma delta. " * 20
    for kind in ("recursive", "sentence"):
        chunks = check(build(("paragraph", prose)), ChunkingStrategy(kind, 22, 5))
        assert len(chunks) > 3
        assert all(c.text.startswith("Alpha") and c.text.endswith("delta.") for c in chunks)
        assert all(right.start < left.end for left, right in itertools.pairwise(chunks))


def test_fixed_size_fills_its_windows_and_keeps_words_and_numbers_whole() -> None:
    words = "measurement 1234567890123 end. " * 60
    chunks = check(build(("paragraph", words)), ChunkingStrategy("fixed_size", 25, 6))
    assert all(len(subwords(c.text)) > 18 for c in chunks[:-1])
    for c in chunks:
        assert re.match(r"measurement|1234567890123|end\.", c.text)
        assert re.search(r"(measurement|1234567890123|end\.)\Z", c.text)


def test_rows_stay_whole_unless_one_alone_is_too_large() -> None:
    table = "\n".join(f"| Cabin {n} | {n} euros a night |" for n in range(40))
    for kind in AVAILABLE:
        chunks = check(build(("paragraph", "Our rates are"), ("table", table)), ChunkingStrategy(kind, 30, 12))
        for c in chunks:
            assert c.text.startswith(("|", "Our"))
            assert c.text.endswith("|")
    wide = "| " + " | ".join(f"cell {n}" for n in range(60)) + " |"
    chunks = check(build(("table", f"| a |\n{wide}\n| b |")), ChunkingStrategy("recursive", 30, 0))
    assert len(chunks) > 2


def test_no_overlap_when_none_is_wanted() -> None:
    chunks = check(build(("paragraph", "Alpha beta gamma. " * 50)), ChunkingStrategy("recursive", 20, 0))
    assert all(right.start >= left.end for left, right in itertools.pairwise(chunks))


def test_pages_of_a_chunk() -> None:
    document = ParsedDocument("aaaa. bbbb. cccc. dddd.", (), ((0, 1), (6, 2), (12, 4)))
    (whole,) = check(document, ChunkingStrategy())
    assert whole.pages == ((0, 1), (6, 2), (12, 4))
    parts = check(document, ChunkingStrategy("sentence", 2, 0))
    assert [c.pages for c in parts] == [((0, 1),), ((6, 2),), ((12, 4),), ((12, 4),)]


@pytest.mark.parametrize("unit", ["x", "1", "费", "\u200b", "e\u0301", "a.b", "| a "])
@pytest.mark.parametrize("known", ["subwords", "one token", "no token"])
def test_hostile_runs_are_cut_to_a_sane_size(unit: str, known: str) -> None:
    text = unit * (120_000 // len(unit))
    spans = {
        "subwords": subwords,
        "one token": lambda t: [(0, len(t))] if t else [],
        "no token": lambda t: [],
    }[known]
    chunks = chunk(ParsedDocument(text, ()), ChunkingStrategy("recursive", 64, 8), spans)
    assert "".join(c.text for c in chunks).replace(" ", "") != ""
    at = 0
    for c in chunks:
        assert text[at : c.start].strip() == ""
        assert len(c.text) <= 64 * 16
        at = max(at, c.end)
    assert text[at:].strip() == ""


def test_a_number_is_not_cut_where_it_can_be_helped() -> None:
    text = "总数是" + "，共".join(f"{n:07d}" for n in range(200))
    chunks = check(ParsedDocument(text, ()), ChunkingStrategy("fixed_size", 9, 0))
    for c in chunks:
        assert not (c.start and text[c.start - 1].isdigit() and c.text[0].isdigit())


def test_a_long_text_is_encoded_in_windows_with_the_same_result() -> None:
    text = "\n\n".join(f"Paragraph {n} has some words in it." for n in range(9000))
    seen: list[int] = []

    def spy(part: str) -> list[tuple[int, int]]:
        seen.append(len(part))
        return subwords(part)

    whole = Tokens(text, spy)
    assert len(seen) > 2
    assert max(seen) <= 100_000
    assert list(zip(whole.starts.tolist(), whole.ends.tolist(), strict=True)) == subwords(text)


def test_counting() -> None:
    tokens = Tokens("ab cd ef", lambda text: [(0, 2), (3, 5), (5, 5), (6, 8)])
    assert tokens.count(0, 8) == 3
    assert tokens.count(2, 6) == 1
    assert tokens.count(1, 4) == 2
    assert tokens.reach(0, 2) == 6
    assert tokens.back(8, 1) == 5
    assert Tokens("", subwords).count(0, 0) == 0
