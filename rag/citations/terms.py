"""Words of any script, and the small vocabularies on which the rules of evidence rest.

`terms` makes index terms: case-folded, accents dropped, lightly stemmed, stop words out, character bigrams
for scripts written without spaces. They serve likeness only (alignment, ranking); exactness is never decided
on them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from rag.citations.vocabulary import (
    APPROXIMATE,
    DENIAL,
    NEGATION,
    QUALIFIER,
    RUN_STOP,
    SCALES,
    SCOPE_RUNS,
    SCOPES,
    STOP_WORDS,
)

# Scripts without spaces, as a character class: Thai, Lao, Khmer, kana, Han.
RUN = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(
    rf"(?P<number>\d+(?:[.,:/]\d+)*)|(?P<run>[{RUN}]+)|(?P<word>(?:(?![{RUN}])[^\W\d_]|[\u0300-\u036f])+)"
)
_WORD = re.compile(rf"[{RUN}]|(?:(?![{RUN}])[^\W_])+(?:['’.,:\-](?:(?![{RUN}])[^\W_])+)*")

_RUN_CHARACTER = re.compile(f"[{RUN}]")

_NUMBERED = re.compile(r"\b(?:no|nos)\.? ?(?=\d)", re.IGNORECASE)


def words(text: str) -> list[str]:
    """The words as they stand; each character of a script without spaces counts as one."""
    return _WORD.findall(text)


def word_count(text: str) -> float:
    """How many words; two characters of a script without spaces make one."""
    return sum(0.5 if _RUN_CHARACTER.match(word) else 1 for word in words(text))


def is_run_character(char: str) -> bool:
    """Whether the script is written without spaces between words."""
    return _RUN_CHARACTER.match(char) is not None


def word_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Spans of the words in text[start:end]."""
    return [found.span() for found in _WORD.finditer(text, start, end)]


def is_negated(text: str) -> bool:
    """Whether the text holds a word of negation ("No. 5" is none)."""
    return NEGATION.search(_NUMBERED.sub("", text)) is not None


def is_qualified(text: str) -> bool:
    """Whether the text holds negation, modality, a condition, a report of what others say, or a question."""
    return QUALIFIER.search(_NUMBERED.sub("", text)) is not None


def is_denied(text: str) -> bool:
    """Whether the text negates, or calls something false."""
    return is_negated(text) or DENIAL.search(text) is not None


def narrows(rest: str) -> bool:
    """Whether `rest`, what stands beside a quotation, begins with a word that narrows what was quoted."""
    found = words(rest)[:1]
    return bool(found) and (found[0].casefold() in SCOPES or found[0].startswith(SCOPE_RUNS))


def is_approximate(word: str) -> bool:
    return word.casefold() in APPROXIMATE


def is_scale(word: str) -> bool:
    return word.casefold() in SCALES


def terms(text: str) -> list[str]:
    """Index terms in order, with repeats."""
    out: list[str] = []
    for found in _TOKEN.finditer(text):
        kind, token = found.lastgroup, found.group()
        if kind == "number":
            out.append(number(token))
        elif kind == "run":
            out.extend(_run_terms(token))
        else:
            term = _word_term(token)
            if term:
                out.append(term)
    return out


def numbers(text: str) -> set[str]:
    """Every number in the text, in the form that `terms` gives it."""
    return {number(found.group()) for found in _TOKEN.finditer(text) if found.lastgroup == "number"}


def measures(text: str) -> set[tuple[str, str]]:
    """(number, term of the word behind it) for every number that a content word follows directly."""
    found = list(_TOKEN.finditer(text))
    pairs: set[tuple[str, str]] = set()
    for left, right in pairwise(found):
        if left.lastgroup == "number" and right.lastgroup != "number" and right.start() - left.end() <= 1:
            after = terms(right.group())[:1]
            pairs.update((number(left.group()), term) for term in after)
    return pairs


@lru_cache(maxsize=4096)
def number(token: str) -> str:
    """A number without thousands separators, so that 1,000 and 1.000 and 1000 agree."""
    parts = re.split("[.,]", token)
    grouped = len(parts) > 1 and len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:])
    joined = "".join(parts) if grouped and parts[0] != "0" else token
    return unicodedata.normalize("NFKC", joined)


def _run_terms(run: str) -> list[str]:
    if len(run) == 1:
        return [] if run in RUN_STOP else [run]
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return [pair for pair in pairs if not (pair[0] in RUN_STOP and pair[1] in RUN_STOP)]


@lru_cache(maxsize=65536)
def _word_term(word: str) -> str:
    folded = word.casefold()
    if folded in STOP_WORDS:
        return ""
    plain = "".join(c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c))
    return _stem(plain)


def _stem(word: str) -> str:
    """A plural ending off, one more ending off, then cut to seven letters: crude, and the same for every language
    with spaces."""
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ern", "ie", "en", "er", "ed", "em", "e", "n", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    return word[:7]
