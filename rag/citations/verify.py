"""Whether a source really holds a sentence: exact, normalized, or not at all.

Nothing here weighs likeness. A stretch of the answer is found in the passage, letter for letter or after
folding (`rag.citations.fold`), or it is not; and what is found counts only if the words left out around it
change nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from rag.citations.fold import fold
from rag.citations.sources import PassageText, Rest
from rag.citations.terms import (
    is_approximate,
    is_qualified,
    is_run_character,
    is_scale,
    narrows,
    word_count,
    word_spans,
    words,
)
from rag.citations.vocabulary import STOP_WORDS
from rag.sentences import is_ordinal_noun, vocabulary

_OCCURRENCES = 20
_JOINERS = frozenset("-‐‑–−'’_@/\\&.#+=·")
_DIGIT_JOINERS = frozenset(",:٫٬")
_UNIT_SIGNS = frozenset("%‰°$€£¥₹₽₩²³½¼¾+×^")
_NUMBER_SIGNS = frozenset("$€£¥₹₽₩<>≤≥~≈±#№×^")
_DASHES = frozenset("-‐‑‒–—−+")
_OPENING_EDGES = frozenset(";:|；：")
_CLOSING_EDGES = frozenset(";:—–|；：,，")
_DECORATION = " \t\n*`>"
_BULLET = re.compile(r"(?:\s*(?:[-+*•‣◦–—](?=\s+\D)|#{1,6}|>)\s+)+")
_ENUMERATOR = re.compile(r"\s*\(?(?:\d{1,3}|[A-Za-z])[.)]\s+(?=\S)")
# Units whose meaning hangs on a letter's case: m is not M, b is not B.
_UNIT_WORD = re.compile(
    r"\d\s?([bcfghjklmnstvw]|[mgtpk](?:w|wh|b|bit|hz|v|pa|j|g|m|s|l|bps|a|t|ev|mol)|[umn][gmlsa])(?!\w)", re.IGNORECASE
)
_PARTICLES = vocabulary(
    """
    of de del della von van da du dos der des di the el la le al bin ibn
    """
)
_THIN = " \u00a0\u202f\u2009"
_BARE_WORDS = 6


_QUOTE_MARKS = frozenset('"“”«»„「」『』')


class Match(NamedTuple):
    """A stretch of a passage (passage offsets) that holds the claim."""

    start: int
    end: int
    verification: Literal["exact", "normalized"]


def find(page: PassageText, claim: str, *, quoted: bool = False) -> Match | None:
    """Where `page` holds `claim`. `quoted`: the claim stands in quotation marks, so it may be a mere part of
    a sentence; it still may not have lost a negation or a condition."""
    if not words(claim):
        return None
    for start in _occurrences(page.text, claim):
        if _holds(page, start, start + len(claim), quoted=quoted):
            return Match(start, start + len(claim), "exact")
    return _find_normalized(page, claim, quoted=quoted)


def is_quoted_in(page: PassageText, match: Match) -> bool:
    """Whether the source itself has these words in quotation marks, here or elsewhere."""
    quote = page.text[match.start : match.end]
    return any(mark + gap + quote in page.text for mark in _QUOTE_MARKS for gap in ("", " "))


def _find_normalized(page: PassageText, claim: str, *, quoted: bool) -> Match | None:
    for needle, numbered in _needles(claim):
        for at in _occurrences(page.folded.text, needle):
            span = page.folded.original(at, at + len(needle))
            if span is None or not _same_units(claim, page.text[slice(*span)]):
                continue
            if numbered and any(c.isdigit() for c in page.rest(*span).left):
                continue
            if _holds(page, *span, quoted=quoted):
                return Match(*span, "normalized")
    return None


def _needles(claim: str) -> Iterator[tuple[str, bool]]:
    """The folded claim as it may stand in a source, and whether a list number was taken off it."""
    seen = set()
    plain = _BULLET.sub("", claim, count=1) if _BULLET.match(claim) else claim
    enumerator = _ENUMERATOR.match(plain)
    shorter = plain[enumerator.end() :] if enumerator else ""
    if shorter and is_ordinal_noun("".join(words(shorter)[:1])):
        shorter = ""
    for variant, numbered in ((claim, False), (plain, False), (shorter, True)):
        needle = _trim(fold(variant))
        if needle and needle not in seen:
            seen.add(needle)
            yield needle, numbered


def _trim(needle: str) -> str:
    needle = needle.strip()
    if needle.count('"') % 2:
        needle = needle.strip('" ')
    return needle.rstrip(" .,;:!。、")


def _occurrences(text: str, needle: str) -> Iterator[int]:
    at = text.find(needle) if needle else -1
    for _ in range(_OCCURRENCES):
        if at < 0:
            return
        yield at
        at = text.find(needle, at + 1)


def _holds(page: PassageText, start: int, end: int, *, quoted: bool) -> bool:
    if _splits_token(page.text, start) or _splits_token(page.text, end):
        return False
    rest = page.rest(start, end)
    if page.is_cut(rest, start, end) or is_qualified(f"{rest.left}\n{rest.right}\n{rest.beyond}"):
        return False
    return rest.whole or _is_fair_part(page.text, start, end, rest, quoted=quoted)


def _is_fair_part(text: str, start: int, end: int, rest: Rest, *, quoted: bool) -> bool:
    if not _says_something(text[start:end]) or narrows(rest.right.lstrip(_DECORATION)):
        return False
    return quoted or _is_clause(text, start, end, rest) or _is_bare(text, start, end, rest)


def _says_something(claim: str) -> bool:
    """At least two words (four characters without spaces), or a number, and not only stop words."""
    if any(c.isdigit() for c in claim):
        return True
    return word_count(claim) >= 2 and any(word.casefold() not in STOP_WORDS for word in words(claim))


# edges --------------------------------------------------------------------------------------------


def _is_clause(text: str, start: int, end: int, rest: Rest) -> bool:
    """Begins with the sentence or behind a semicolon, colon or dash, and ends with it or before one of these
    or a comma; no opening narrows it, no enumeration of numbers is cut. Behind a comma a subject may have
    been lost."""
    left, right = rest.left.rstrip(_DECORATION), rest.right.lstrip(_DECORATION)
    before, behind = words(left), words(right)
    if (before and left[-1] not in _OPENING_EDGES) or (behind and right[0] not in _CLOSING_EDGES):
        return False
    if before and (narrows(left) or (before[-1][0].isdigit() and text[start].isdigit())):
        return False
    return not (behind and behind[0][0].isdigit())


def _is_bare(text: str, start: int, end: int, rest: Rest) -> bool:
    """A name or a quantity that claims nothing by itself, and is complete: "Kawann Short", "40 euros"."""
    found = [text[a:b] for a, b in word_spans(text, start, end)]
    if not 0 < len(found) <= _BARE_WORDS or not (
        _is_named(found[0]) and not any(map(is_run_character, text[start:end]))
    ):
        return False
    for before, word in pairwise(found):
        if not (_is_named(word) or before[0].isdigit() or word in _PARTICLES):
            return False
    if found[0].casefold() in STOP_WORDS or found[-1].casefold() in STOP_WORDS:
        return False
    return not (_extends_left(rest.left) or _extends_right(rest.right))


def _extends_left(left: str) -> bool:
    found = words(left)
    if not found or left.rstrip(_DECORATION)[-1:] in _CLOSING_EDGES:
        return False
    word = found[-1]
    opens = len(found) == 1 and word.casefold() in STOP_WORDS
    return is_approximate(word) or is_scale(word) or word in _PARTICLES or (_is_named(word) and not opens)


def _extends_right(right: str) -> bool:
    found = words(right)
    if not found or right.lstrip(_DECORATION)[:1] in _CLOSING_EDGES:
        return bool(found) and found[0][0].isdigit()
    word = found[0]
    return is_approximate(word) or is_scale(word) or word.casefold() in _PARTICLES or _is_named(word)


def _is_named(word: str) -> bool:
    return word[0].isupper() or any(c.isdigit() for c in word)


# tokens -------------------------------------------------------------------------------------------


def _splits_token(text: str, at: int) -> bool:
    """Whether a word or a number, with its sign and unit sign, reaches over position `at`."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if _is_wordy(left) and _is_wordy(right):
        return True
    if left.isnumeric() and right.isnumeric():
        return True
    if _is_mark(right):
        return True
    return _is_joined(text, at) or _splits_number(text, at)


def _is_joined(text: str, at: int) -> bool:
    """A hyphen, apostrophe, slash or decimal sign that holds two halves together, on either side of `at`."""
    for joint in (at - 1, at):
        if not 0 < joint < len(text) - 1:
            continue
        sign, before, after = text[joint], text[joint - 1], text[joint + 1]
        if sign in _JOINERS and _is_wordy(before) and _is_wordy(after):
            return True
        if sign in _DIGIT_JOINERS and before.isdigit() and after.isdigit():
            return True
    return False


def _splits_number(text: str, at: int) -> bool:
    """A sign, a unit sign or a group of digits that belongs to the number on the other side of `at`."""
    before, behind = text[max(at - 3, 0) : at], text[at : at + 3]
    if before[-1].isdigit():
        if behind.lstrip(_THIN)[:1] in _UNIT_SIGNS and behind.strip(_THIN):
            return True
        return behind[0] in _THIN and behind[1:2].isdigit()
    if not behind[0].isdigit():
        return False
    sign = before.rstrip(_THIN)[-1:]
    if before[-1] in _DASHES or (sign and sign in _NUMBER_SIGNS):
        return True
    return before[-1] in _THIN and before[-2:-1].isdigit()


def _is_wordy(char: str) -> bool:
    return (char.isalnum() or _is_mark(char)) and not is_run_character(char)


def _is_mark(char: str) -> bool:
    return char > "\u02ff" and unicodedata.category(char) in ("Mn", "Mc", "Me")


def _same_units(claim: str, quote: str) -> bool:
    """Case may differ, but not in a unit: 5 mW is not 5 MW."""
    ours, theirs = _UNIT_WORD.findall(claim), _UNIT_WORD.findall(quote)
    return all(a == b for a, b in zip(ours, theirs, strict=False))
