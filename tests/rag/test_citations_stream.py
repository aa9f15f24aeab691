import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.citations import CitationStream, Piece, Sources, cite
from rag.types import Annotation, Passage

SHOWN = (
    Passage("c1", "d1", "kb", "a.pdf", "The fee is 40 euros. It is due monthly.", 100, 139, pages=((80, 3), (121, 4))),
    Passage("c2", "d2", "kb", "b.txt", "Große Hunde zahlen 3 €. 费用是40欧元。 Members may not sublet.", 0, 60),
)
ANSWER = (
    "Sure! The fee is 40 euros [1]. It is due monthly.[1][2] Members may sublet [2].\n\n- GROSSE hunde zahlen 3 € [2]\n"
    "费用是40欧元。【2】 It says “may not sublet” [9]. See [the page](x) and a[1"
)


def run(text: str, *, steps: Sequence[int] = (10_000,), policy: str = "annotate") -> tuple[list[Piece], CitationStream]:
    stream = CitationStream(SHOWN, choice=2, policy="strict" if policy == "strict" else "annotate")
    pieces: list[Piece] = []
    at = n = 0
    while at < len(text):
        step = steps[n % len(steps)]
        pieces += stream.feed(text[at : at + step])
        at, n = at + step, n + 1
    return [*pieces, *stream.close()], stream


def joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


PARTS = st.sampled_from(
    [
        "The fee is 40 euros",
        "It is due monthly.",
        " [1]",
        "[1, 2]",
        "【2】",
        "[",
        "]",
        "1",
        ". ",
        "\n",
        "\n\n",
        "- ",
        '"',
        "“may not sublet”",
        "费用是40欧元。",
        "Sure! ",
        "not ",
        "`a[1]` ",
        "```\n",
        '{"a": "',
        "\\n",
        "x",
        "Ünï ",
        "[9]",
    ]
)
TEXTS = st.lists(PARTS, max_size=20).map("".join) | st.text(max_size=80)
STEPS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@settings(deadline=None, max_examples=150)
@given(TEXTS | st.just(ANSWER), STEPS)
def test_nothing_depends_on_how_the_answer_is_cut(text: str, steps: list[int]) -> None:
    whole, one = run(text)
    pieces, many = run(text, steps=steps)
    assert joined(pieces) == joined(whole) == text
    assert many.spans == one.spans
    notes = [note for piece in pieces for note in piece.annotations]
    assert notes == [note for piece in whole for note in piece.annotations]
    assert len(set(notes)) == len(notes)
    assert all(piece.text or piece.annotations for piece in pieces)


@settings(deadline=None, max_examples=100)
@given(TEXTS | st.just(ANSWER), STEPS)
def test_strict_does_not_depend_on_it_either(text: str, steps: list[int]) -> None:
    whole, one = run(text, policy="strict")
    pieces, many = run(text, steps=steps, policy="strict")
    assert joined(pieces) == joined(whole)
    assert (many.spans, many.dropped) == (one.spans, one.dropped)
    if not text.lstrip().startswith(("{", "[")):
        assert all(span.verification != "unverified" or {"[", "【"} & {*text} for _, span in many.spans)


@settings(deadline=None, max_examples=100)
@given(TEXTS | st.just(ANSWER), STEPS)
def test_no_piece_ends_inside_a_marker(text: str, steps: list[int]) -> None:
    pieces, _ = run(text, steps=steps)
    marker = re.compile(r"[\[【] ?\d{1,3}(?: ?, ?\d{1,3})* ?[\]】]")
    inside = {at for found in marker.finditer(text) for at in range(found.start() + 1, found.end())}
    at = 0
    for piece in pieces:
        at += len(piece.text)
        assert at not in inside


@settings(deadline=None, max_examples=100)
@given(TEXTS | st.just(ANSWER))
def test_every_span_holds_what_it_promises(text: str) -> None:
    pieces, stream = run(text)
    answer = joined(pieces)
    for n, span in stream.spans:
        passage = SHOWN[n]
        assert 0 <= span.answer_start < span.answer_end <= len(answer)
        assert span.choice == 2
        if span.quote is None:
            assert (span.verification, span.start, span.end) == ("unverified", None, None)
            continue
        assert span.start is not None
        assert span.end is not None
        assert passage.text[span.start - passage.start : span.end - passage.start] == span.quote
        assert span.page == passage.page_at(span.start)


def test_an_answer() -> None:
    pieces, stream = run(ANSWER, steps=[3])
    said = [(ANSWER[s.answer_start : s.answer_end], n, s.verification, s.quote, s.page) for n, s in stream.spans]
    assert said == [
        ("The fee is 40 euros", 0, "exact", "The fee is 40 euros.", 3),
        ("It is due monthly.", 0, "exact", "It is due monthly.", 4),
        ("It is due monthly.", 1, "unverified", None, None),
        ("Members may sublet", 1, "unverified", None, None),
        ("- GROSSE hunde zahlen 3 €", 1, "normalized", "Große Hunde zahlen 3 €", None),
        ("费用是40欧元。", 1, "exact", "费用是40欧元。", None),
        ("may not sublet", 1, "exact", "may not sublet", None),
    ]
    notes = [note for piece in pieces for note in piece.annotations]
    assert notes[0] == Annotation(6, 25, 1)
    assert [note.citation_index for note in notes] == [1, 1, 2, 2, 2, 2, 2]


def test_annotations_come_when_their_sentence_closes() -> None:
    stream = CitationStream(SHOWN)
    assert [*stream.feed("The fee is 40 euros [1")] == [Piece("The fee is 40 euros ")]
    assert [*stream.feed("]")] == [Piece("[1]")]
    assert [*stream.feed(". ")] == [Piece(". ")]
    (piece,) = stream.feed("Next")
    assert piece == Piece("Next", (Annotation(0, 19, 1),))
    assert [*stream.close()] == []
    assert [*stream.close()] == []
    with pytest.raises(RuntimeError, match="closed"):
        stream.feed("more")


def test_strict_drops_whole_sentences_with_their_markers() -> None:
    pieces, stream = run(ANSWER, policy="strict")
    assert joined(pieces) == (
        "The fee is 40 euros [1]. It is due monthly.[1][2]\n\n- GROSSE hunde zahlen 3 € [2]\n费用是40欧元。【2】"
        " It says “may not sublet” [9]."
    )
    assert stream.dropped == (
        "Sure!",
        "Members may sublet [2].",
        "See [the page](x) and a[1",
    )
    answer = joined(pieces)
    for _, span in stream.spans:
        assert answer[span.answer_start : span.answer_end].strip() == answer[span.answer_start : span.answer_end]
    assert next(answer[s.answer_start : s.answer_end] for _, s in stream.spans) == "The fee is 40 euros"


def test_strict_with_nothing_to_stand_on_says_nothing() -> None:
    stream = CitationStream((), policy="strict")
    assert [*stream.feed("All is well. Truly."), *stream.close()] == []
    assert stream.dropped == ("All is well.", "Truly.")


def test_json_is_never_cut_but_its_strings_are_cited() -> None:
    text = '{"answer": "The fee is 40 euros. [1]", "more": "It is due weekly.", "sources": [1, 2]}'
    for policy in ("annotate", "strict"):
        pieces, stream = run(text, steps=[4], policy=policy)
        assert joined(pieces) == text
        assert stream.dropped == ()
        ((n, span),) = stream.spans
        assert (n, span.verification) == (0, "exact")
        assert text[span.answer_start : span.answer_end] == "The fee is 40 euros."


def test_citations_are_all_passages_with_the_spans_of_every_choice() -> None:
    sources = Sources(SHOWN)
    streams = [CitationStream(sources, choice=n) for n in range(2)]
    for stream, text in zip(streams, ("The fee is 40 euros [1].", "It is due monthly."), strict=True):
        assert "".join(p.text for p in (*stream.feed(text), *stream.close())) == text
    citations = cite(SHOWN, streams)
    assert [(c.index, c.passage, c.cited) for c in citations] == [(1, SHOWN[0], True), (2, SHOWN[1], False)]
    assert [(s.choice, s.verification) for s in citations[0].spans] == [(0, "exact"), (1, "exact")]
    assert cite((), []) == ()


@pytest.mark.parametrize("text", ['{"a": "x"}', '  [\n"x", "y"]', "{}"])
def test_strict_json_keeps_what_came_before_it_was_known_to_be_json(text: str) -> None:
    pieces, stream = run(text, steps=[1], policy="strict")
    assert joined(pieces) == text
    assert stream.dropped == ()


@pytest.mark.parametrize("text", ["[" * 5000, "[1" * 2000, '"' * 5000, "“a b c” " * 500, "\\" * 3000, "*" * 5000])
def test_hostile_answers_pass_unchanged(text: str) -> None:
    pieces, _ = run(text, steps=[7])
    assert joined(pieces) == text
