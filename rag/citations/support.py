"""One closed sentence of an answer → what supports it, by the rules of `rag.citations`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from rag.citations.markers import MARKER, Marker, find_markers, without
from rag.citations.sources import Sources
from rag.citations.terms import is_denied, terms, word_count, words
from rag.citations.verify import Match, find, is_quoted_in
from rag.types import Verification

# Share of a sentence's weighted words that one source sentence must hold.
MARKED_FLOOR = 0.35
UNMARKED_FLOOR = 0.7
_UNMARKED_TERMS = 3
_LEAD_IN_WORDS = 8
_QUOTED_WORDS = 3
_QUOTED = re.compile(r"“([^“”]+)”|«([^«»]+)»|„([^„“”]+)[“”]|「([^「」]+)」|『([^『』]+)』|(?<![\d\w])\"([^\"]+)\"")
_JSON_EDGES = re.compile(r'^(?:\\[nt]|[\s"{}\[\],:])+|(?:\\[nt]|[\s"{}\[\],:])+$')
_TAIL = " \t\n.。!！,;:*_`"


class Support(NamedTuple):
    """`start:end` of the sentence rests on `quote_start:quote_end` of passage `passage` (0-based; passage
    offsets), or, unverified, on nothing that could be found there (both None)."""

    start: int
    end: int
    passage: int
    verification: Verification
    quote_start: int | None = None
    quote_end: int | None = None


class Finding(NamedTuple):
    """All supports of a sentence. `verified`: the sentence as a whole stands in a source."""

    supports: tuple[Support, ...]
    verified: bool


class _Claim(NamedTuple):
    """A sentence ready for checking: its span without outer markers, its wordings, the passages it names."""

    text: str
    start: int
    end: int
    wordings: tuple[str, ...]
    named: tuple[int, ...]
    markers: list[Marker]


def support(sources: Sources, sentence: str, *, json: bool = False) -> Finding:
    """What supports `sentence` among `sources`. `json`: it is a piece of JSON, strings and punctuation
    together."""
    claim = _read(sentence, len(sources), json=json)
    if not claim.wordings:
        return Finding((), verified=not words(sentence))
    whole = _whole(sources, claim)
    if whole and any(s.verification == "exact" for s in whole):
        return Finding(_with_markers(sources, claim, whole), verified=True)
    quotes, covered = _quotes(sources, claim)
    if whole and not quotes:
        return Finding(_with_markers(sources, claim, whole), verified=True)
    if quotes:
        return Finding(_with_markers(sources, claim, quotes), verified=bool(whole) or covered)
    return Finding(_with_markers(sources, claim, []) if claim.named else _attributed(sources, claim), verified=False)


def _read(sentence: str, shown: int, *, json: bool) -> _Claim:
    markers = find_markers(sentence, shown)
    start, end = _content(sentence, markers)
    if json:
        start, end = _inside(sentence, start, end)
    inner = [m for m in markers if start <= m.start and m.end <= end]
    core = sentence[start:end]
    shifted = [Marker(m.start - start, m.end - start, m.numbers) for m in inner]
    tail = "" if json else _tail(sentence, end, markers)
    wordings = [without(core, shifted).strip() + tail, core.strip() + tail]
    wordings += [w[: -len(tail)] for w in wordings if tail]
    named = tuple(dict.fromkeys(n - 1 for m in markers for n in m.numbers))
    says = words(without(sentence, markers))
    distinct = tuple(dict.fromkeys(w for w in wordings if says and words(w)))
    return _Claim(core, start, end, distinct, named, markers)


def _content(sentence: str, markers: list[Marker]) -> tuple[int, int]:
    """The sentence without markers at its edges, and without the full stop behind the last of them."""
    start, end = 0, len(sentence)
    for marker in reversed(markers):
        if sentence[marker.end : end].strip(_TAIL):
            break
        end = marker.start
    for marker in markers:
        if sentence[start : marker.start].strip() or marker.end > end:
            break
        start = marker.end
    while start < end and sentence[start].isspace():
        start += 1
    return start, end


def _inside(sentence: str, start: int, end: int) -> tuple[int, int]:
    """Without JSON's punctuation at the edges."""
    text = sentence[start:end]
    opening = _JSON_EDGES.match(text)
    lead = opening.end() if opening else 0
    body = _JSON_EDGES.sub("", text[lead:])
    return start + lead, start + lead + len(body)


def _tail(sentence: str, end: int, markers: list[Marker]) -> str:
    """The sentence's own full stop, where it stands behind the last marker: "… 40 euros [1].\""""
    rest = MARKER.sub("", sentence[end:]).strip() if markers else ""
    return rest[:1] if rest[:1] in ".。!！" else ""


def _whole(sources: Sources, claim: _Claim) -> list[Support]:
    """The entire sentence: in each passage it names, else in the best of all."""
    found = [s for n in claim.named if (s := _check(sources, claim, n)) is not None]
    if found:
        return found
    others = (n for n in range(len(sources)) if n not in claim.named)
    first = next((s for n in others if (s := _check(sources, claim, n)) is not None), None)
    return [first] if first else []


def _check(sources: Sources, claim: _Claim, n: int) -> Support | None:
    page = sources.pages[n]
    best: Match | None = None
    for wording in claim.wordings:
        match = find(page, wording)
        if match and (best is None or match.verification == "exact"):
            best = match
        if best and best.verification == "exact":
            break
    if best is None:
        return None
    return Support(claim.start, claim.end, n, best.verification, best.start, best.end)


def _quotes(sources: Sources, claim: _Claim) -> tuple[list[Support], bool]:
    """Parts in quotation marks that stand in a source; and whether the rest of the sentence only leads to
    them.

    A part that stands in quotation marks in the source too is no quotation unless it is the entire sentence:
    the marks came with the sentence, and the rest of that sentence may have been changed."""
    found: list[tuple[Support, bool]] = []
    outside, at = [], 0
    for part in _QUOTED.finditer(claim.text):
        group = part.lastindex or 1
        hit = _quote(sources, claim, part.group(group), part.start(group))
        if hit:
            found.append(hit)
            outside.append(MARKER.sub("", claim.text[at : part.start()]))
            at = part.end()
    outside.append(MARKER.sub("", claim.text[at:]))
    alone = not any(words(part) for part in outside)
    kept = [hit for hit, borrowed in found if alone or not borrowed]
    return kept, len(kept) == len(found) > 0 and _leads_in(outside)


def _leads_in(outside: list[str]) -> bool:
    """Whether what stands outside the quotations is a few harmless words before the first of them."""
    first, *others = outside
    if any(words(part) for part in others) or any(c.isdigit() for c in first):
        return False
    return len(words(first)) <= _LEAD_IN_WORDS and not is_denied(first)


def _quote(sources: Sources, claim: _Claim, quoted: str, at: int) -> tuple[Support, bool] | None:
    inner = without(quoted, find_markers(quoted, len(sources))).strip()
    if word_count(inner) < _QUOTED_WORDS:
        return None
    order = [*claim.named, *(n for n in range(len(sources)) if n not in claim.named)]
    for n in order:
        match = find(sources.pages[n], inner, quoted=True)
        if match:
            start = claim.start + at
            hit = Support(start, start + len(quoted), n, match.verification, match.start, match.end)
            return hit, is_quoted_in(sources.pages[n], match)
    return None


def _with_markers(sources: Sources, claim: _Claim, verified: Iterable[Support]) -> tuple[Support, ...]:
    """The verified supports, and an unverified one for every passage that is named and did not verify."""
    found = list(verified)
    done = {s.passage for s in found}
    for n in claim.named:
        if n not in done:
            at = sources.align(claim.wordings[0], (n,), MARKED_FLOOR)
            span = (at.start, at.end) if at else (None, None)
            found.append(Support(claim.start, claim.end, n, "unverified", *span))
    return tuple(sorted(found, key=lambda s: (s.start, s.passage)))


def _attributed(sources: Sources, claim: _Claim) -> tuple[Support, ...]:
    """A sentence without marker and without quote: the source sentence that holds nearly all of its words."""
    if len(set(terms(claim.wordings[0]))) < _UNMARKED_TERMS:
        return ()
    at = sources.align(claim.wordings[0], range(len(sources)), UNMARKED_FLOOR)
    if at is None:
        return ()
    return (Support(claim.start, claim.end, at.passage, "unverified", at.start, at.end),)
