import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.citations.fold import Folded, fold

TRICKY = st.text(
    alphabet=st.sampled_from(list("aZß ﬁİıéÅ\u0301\u0327½²０９「」«»“”’–—−…*`_\u00ad\u200b\u00a0\n\t. 한글費ǅΣς'\"-"))
    | st.characters(codec="utf-8"),
    max_size=40,
)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Große STRASSE", "grosse strasse"),
        ("a  b\u00a0\nc", "a b c"),
        ("“It’s” «so»", '"It\'s" "so"'),
        ("1990–2000 — yes", "1990-2000 - yes"),
        ("caf\u00e9", "cafe\u0301"),
        ("한글", unicodedata.normalize("NFD", "한글")),
        ("ﬁne", "fine"),
        ("４０％", "40%"),
        ("wait…", "wait..."),
        ("**40 euros** or `x`", "40 euros or x"),
        ("*so* it is", "so it is"),
        ("in\u00advisible\u200b", "invisible"),
        ("a \u200b b", "a b"),
    ],
)
def test_typography_is_folded(left: str, right: str) -> None:
    assert fold(left) == fold(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("10²", "102"),
        ("6½", "61/2"),
        ("40", "41"),
        ("1.50", "1.5"),
        ("-5", "5"),
        ("2*3", "23"),
        ("5 * 3", "5 3"),
        ("~~40~~", "40"),
        ("snake_case", "snakecase"),
        ("resume", "résumé"),
        ("½", "1/2"),
        ("٤", "4"),
        ("5'", '5"'),
    ],
)
def test_meaning_is_not_folded(left: str, right: str) -> None:
    assert fold(left) != fold(right)


@settings(deadline=None, max_examples=200)
@given(TRICKY)
def test_each_folded_character_knows_its_original(text: str) -> None:
    folded = Folded(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    at = 0
    for start, end in zip(folded.starts, folded.ends, strict=True):
        assert at <= start < end <= len(text)
        at = start
    whole = folded.original(0, len(folded.text)) if folded.text else None
    if whole:
        assert fold(text[slice(*whole)]).strip() == folded.text.strip()


@settings(deadline=None, max_examples=200)
@given(TRICKY, TRICKY, TRICKY)
def test_a_stretch_maps_back_to_text_that_folds_to_it(left: str, middle: str, right: str) -> None:
    folded = Folded(f"{left} {middle} {right}")
    needle = fold(middle).strip()
    at = folded.text.find(needle) if needle else -1
    if at >= 0 and (span := folded.original(at, at + len(needle))) is not None:
        original = f"{left} {middle} {right}"[slice(*span)]
        # Stars are judged by their neighbours, which the cut takes away.
        assert fold(original).replace("*", "").strip() == needle.replace("*", "").strip()


@settings(deadline=None)
@given(TRICKY)
def test_composition_does_not_matter(text: str) -> None:
    assert fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text))


def test_an_edge_inside_one_original_character_has_no_span() -> None:
    folded = Folded("ß")
    assert folded.text == "ss"
    assert folded.original(0, 1) is None
    assert folded.original(1, 2) is None
    assert folded.original(0, 2) == (0, 1)
