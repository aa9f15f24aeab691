"""Sentence boundaries as exact code-point spans, for every script, the same whether text comes whole or in
pieces.

A sentence ends
- at a full stop, question or exclamation mark (with the closing quotes, brackets and `[n]` markers behind it)
  that white space follows, unless the next letter is lower case or an abbreviation, an initial, an ordinal or
  a list number stands before it;
- at a terminator of scripts that write no spaces (。！？। and others), at once;
- at a line end, unless the next line goes on in lower case, this one ends with a comma or a word that ends no
  sentence ("the", "of"), or it is a long line of running text without a stop (a wrapped paragraph).
  Headings, table rows, list items and lines of fenced code are sentences of their own, and scripts without
  terminators (Thai) fall back to lines;
- in text that starts as JSON, at every unescaped quotation mark;
- at the last white space before `MAX_SENTENCE` code points, whatever the text is.

Every decision looks a bounded way ahead. `Segmenter` waits until it has seen that far, so a stream is cut
exactly as the whole text would be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_SENTENCE = 4000
_LOOKAHEAD = 96

# `[1]`, `[1, 2]`, `[1-3]`, `【1】`: at most ten numbers, so that a prefix of a marker is bounded too.
MARKER_PATTERN = r"[\[【] ?\d{1,3}(?: ?[,;、，–-] ?\d{1,3}){0,9} ?[\]】]"


def vocabulary(text: str) -> frozenset[str]:
    """The words of `text` as a set."""
    return frozenset(text.split())


_SPACED_STOPS = ".!?…‥؟۔።፧։"
_HARD_STOPS = "。！？｡．।॥។။"
_STOPS = _SPACED_STOPS + _HARD_STOPS
_CLOSERS = frozenset("\"'”’»›)]}）」』】》〉*_`")
# These close in German and Danish; in scripts without spaces they open the next sentence.
_LATIN_CLOSERS = _CLOSERS | frozenset("“‘«")
_CANDIDATE = re.compile(f"[{re.escape(_STOPS)}\n]")
_CANDIDATE_JSON = re.compile(f'[{re.escape(_STOPS)}\n"]|\\\\n')
_LINE_END = re.compile("\n")
_STOP_RUN = re.compile(f"[{re.escape(_STOPS)}]+")
_MARKERS = re.compile(rf"(?:[ \t]{{0,3}}{MARKER_PATTERN})+[.。]?")
_MARKER_START = re.compile(r"[ \t]{0,3}(?:[\[【][\d ,;、，–-]{0,60})?")
_MARKER_END = re.compile(rf"{MARKER_PATTERN}[.。]?[ \t]*\Z")
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[^\W_]+")
_LIST_ITEM = re.compile(r"(?:[-*+•‣◦–—]|\(?\d{1,3}[.)]|\(?[A-Za-z][.)])\s")
_LIST_NUMBER = re.compile(r"\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})\.")
_BEFORE_STOP = re.compile(r"[^\W_][\w.]*\Z")
_WORD_ROOM = 16
_WRAPPED_LINE = 60  # code points; rows of a table set in plain text are rarely as long
_LAST_WORD = re.compile(r"(?<![\w.,:;])[^\W\d_]{1,8}\Z")

# Never the end of a sentence, whatever follows.
_ABBREVIATIONS = vocabulary(
    """
    dr mr mrs ms prof st vs cf e.g i.e eg ie z.b d.h u.a u.u o.ä s.o s.u bzw ca nr fig figs abb vgl sog
    inkl evtl ggf zzgl bspw mio mrd str hr fr frl dipl ing geb gest approx dept est eq eqs sra sr srta
    dña ud uds p.ej ej núm vol vols pp ed eds rev gen col lt sgt capt cmdr gov sen rep hon jan feb mar
    apr jun jul aug sep sept okt oct nov dez dec al bd kap tab ref refs sec mme mlle av bld blvd mt ft
    min max red hrsg tel
    """
)
# Only before a number: these are words too ("no", "art", "s").
_NUMBER_ABBREVIATIONS = vocabulary(
    """
    no nos n p s art ch cap pág págs fol ver v sect par abs zif ziff c
    """
)
_STARTERS = vocabulary(
    """
    the it he she they this these those in on at a an we i you there that however its his her their but
    and if when der die das es er sie wir ich ein eine im am dies diese el la los las en un una le les
    il elle o os as
    """
)
# A line that ends with one of these goes on below, whatever the next one begins with.
_LEADING_ON = vocabulary(
    """
    the a an of in on at to for from by with and or every each per between der die das den dem des ein eine
    einen einem einer und oder von vom zum zur im am für mit bei el la los las un una de del y con por para
    le les du des et ou dans pour sur avec
    """
)
# What follows an ordinal number in languages that write it with a stop.
_AFTER_ORDINAL = vocabulary(
    """
    januar jänner februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts jh jahrtausend auflage klasse platz runde tag jahrestag etage stock
    obergeschoss marts maj oktober desember januari februari
    """
)


class _Cut(NamedTuple):
    """What a candidate turned out to be: a boundary at `end`, or none and the search goes on at `resume`."""

    end: int = -1
    resume: int = -1


class _View(NamedTuple):
    """The part of the buffer one decision may see: from `start` to `stop`. `final`: nothing comes behind
    it. `column`: code points of the same line before `start`."""

    text: str
    start: int
    stop: int
    final: bool
    json: bool
    column: int


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences of `text`: (start, end) in code points, end exclusive, ordered, disjoint, without outer
    white space. Every character that is not white space lies in exactly one of them."""
    segmenter = Segmenter()
    return [*segmenter.feed(text), *segmenter.close()]


class Segmenter:
    """`sentence_spans` for text that arrives in pieces. Offsets count from the first character ever fed."""

    def __init__(self) -> None:
        self._text = ""
        self._base = 0
        self._start = 0
        self._column = 0
        self._scan = -1
        self._at_line_start = True
        self._fence = False
        self._json: bool | None = None

    @property
    def json(self) -> bool:
        """Whether the text began as a JSON object or array."""
        return bool(self._json)

    @property
    def fenced(self) -> bool:
        """Whether the next sentence lies inside a fenced code block."""
        return self._fence

    def feed(self, text: str) -> list[tuple[int, int]]:
        """The sentences that closed with this piece."""
        self._text += text
        return self._run(final=False)

    def close(self) -> list[tuple[int, int]]:
        """The rest, when no more text comes."""
        return self._run(final=True)

    def _run(self, *, final: bool) -> list[tuple[int, int]]:
        spans = []
        while (span := self._next(final)) is not None:
            spans.append((span[0] + self._base, span[1] + self._base))
        self._drop_consumed()
        return spans

    def _drop_consumed(self) -> None:
        done = self._start
        if done:
            self._text = self._text[done:]
            self._base += done
            self._start = 0
            self._scan = self._scan - done if self._scan >= 0 else -1

    def _next(self, final: bool) -> tuple[int, int] | None:
        text = self._text
        if self._scan < 0 and not self._enter(final):
            return None
        begin = self._start
        stop = min(len(text), begin + MAX_SENTENCE + _LOOKAHEAD)
        ended = final or stop == begin + MAX_SENTENCE + _LOOKAHEAD
        view = _View(text, begin, stop, ended, self.json, self._column)
        end = self._find(view)
        if end is None:
            return None
        if self._is_fence(begin):
            self._fence = not self._fence
        self._advance(end)
        self._scan, self._at_line_start = -1, False
        return begin, _rstrip(text, begin, end)

    def _advance(self, to: int) -> None:
        newline = self._text.rfind("\n", self._start, to)
        self._column = to - newline - 1 if newline >= 0 else self._column + to - self._start
        self._start = to

    def _enter(self, final: bool) -> bool:
        """Moves to the first character of the next sentence; False while it cannot be classified yet."""
        text = self._text
        begin = _skip_space(text, self._start)
        self._at_line_start = self._at_line_start or "\n" in text[self._start : begin]
        self._advance(begin)
        if begin >= len(text):
            return False
        if self._json is None:
            self._json = _looks_like_json(text, begin, final)
            if self._json is None:
                return False
        if not final and text[begin] in "`~" and len(text) - begin < 3:
            return False
        self._scan = begin
        return True

    def _is_fence(self, begin: int) -> bool:
        return self._at_line_start and self._text.startswith(("```", "~~~"), begin)

    def _find(self, view: _View) -> int | None:
        """End of the sentence that starts at view.start, None while more text is needed."""
        lines_only = self._fence or self._is_fence(view.start)
        pattern = _LINE_END if lines_only else (_CANDIDATE_JSON if view.json else _CANDIDATE)
        farthest = view.start + MAX_SENTENCE
        while (found := pattern.search(view.text, self._scan, min(view.stop, farthest))) is not None:
            cut = self._judge(view, found.start(), lines_only)
            if cut is None:
                self._scan = found.start()
                return None
            if cut.end >= 0:
                return cut.end
            self._scan = cut.resume
        if view.stop > farthest:
            return _forced_cut(view.text, view.start, farthest)
        # One character back: in JSON a candidate has two.
        self._scan = max(self._scan, view.stop - 1)
        return view.stop if view.final else None

    def _judge(self, view: _View, at: int, lines_only: bool) -> _Cut | None:
        char = view.text[at]
        if char == "\n":
            if lines_only or (self._at_line_start and view.text[view.start] in "|#"):
                return _Cut(end=at)
            return _at_newline(view, at)
        if char in '"\\':
            return _at_json_mark(view, at)
        if char == "." and _is_plain_end(view, at):
            return _Cut(end=at + 1)
        return _at_stop(view, at, self._at_line_start)


# decisions: each returns None when it must see more text ------------------------------------------


def _at_newline(view: _View, at: int) -> _Cut | None:
    text = view.text
    follow = _skip_space(text, at, view.stop)
    if text.find("\n", at + 1, follow) >= 0:
        return _Cut(end=at)
    if follow >= view.stop:
        return _Cut(end=at) if view.final else None
    if _MARKER_END.search(text, max(view.start, at - 80), at):
        return _Cut(end=at)
    before = _rstrip(text, view.start, at)
    if not (text[follow].islower() or text[before - 1] in ",("):
        wraps = _wraps(view, before, follow)
        if not wraps:
            return None if wraps is None else _Cut(end=at)
    structure = _starts_structure(view, follow)
    if structure is None:
        return None
    return _Cut(end=at) if structure else _Cut(resume=follow)


def _wraps(view: _View, before: int, follow: int) -> bool | None:
    """Whether the line that ends at `before` is a wrapped one, though a capital or a digit follows: text as
    it is taken from a page, where every line is broken at the margin."""
    text = view.text
    newline = text.rfind("\n", view.start, before)
    begin, column = (newline + 1, 0) if newline >= 0 else (view.start, view.column)
    if text[before - 1] in _STOPS or text[before - 1] in ":;|" or not text[follow].isalnum():
        return False
    last = _LAST_WORD.search(text[max(begin, before - _WORD_ROOM) : before])
    if last and last.group() in _LEADING_ON:
        return True
    if column + before - begin < _WRAPPED_LINE or not _is_running(text[begin:before]):
        return False
    room = min(follow + _WORD_ROOM, view.stop)
    after = _WORD.match(text, follow, room)
    if not view.final and (after is None or after.end() >= view.stop):
        return None
    # Lines that begin alike are rows or items, not one paragraph.
    return after is None or column > 0 or not text.startswith(after.group(), begin)


def _is_running(line: str) -> bool:
    """Whether most words begin in lower case, as in sentences and not in rows of figures or titles."""
    found = line.split()
    return 2 * sum(word[0].islower() for word in found) > len(found)


def _at_json_mark(view: _View, at: int) -> _Cut:
    slashes = at - len(view.text[view.start : at].rstrip("\\")) - view.start
    if slashes % 2:
        return _Cut(resume=at + 1)
    if view.text[at] == "\\":
        return _Cut(end=at) if at > view.start else _Cut(resume=at + 2)
    return _Cut(end=at + 1)


def _at_stop(view: _View, at: int, line_start: bool) -> _Cut | None:
    """A terminator: boundary behind its closers and markers, if what follows lets it be one."""
    text, stop = view.text, view.stop
    found = _STOP_RUN.match(text, at, stop)
    assert found is not None
    run = found.group()
    closed = _skip_closers(view, found.end())
    markers = _MARKERS.match(text, closed, stop)
    end = markers.end() if markers else closed
    if not view.final and _MARKER_START.fullmatch(text, end, stop):
        return None
    if end >= stop or markers:
        return _Cut(end=end)
    if view.json and text[end] == '"':
        return _Cut(end=end + 1)
    if any(c in _HARD_STOPS for c in run):
        return _Cut(resume=end) if _is_decimal(text, at, run) else _Cut(end=end)
    if not text[end].isspace():
        return _Cut(resume=end)
    return _before_space(view, at, run, end, line_start)


def _is_plain_end(view: _View, at: int) -> bool:
    """The most common case, quickly: a long lower-case word, a full stop, a space, a capital."""
    text = view.text
    if at + 2 >= view.stop or at - 5 < view.start or text[at + 1] != " " or not text[at + 2].isupper():
        return False
    word = text[at - 5 : at]
    return word.isalpha() and word.islower() and word != "pprox"  # of "approx."


def _before_space(view: _View, at: int, run: str, end: int, line_start: bool) -> _Cut | None:
    """A terminator with white space behind it; `end` is where the sentence would end."""
    text = view.text
    follow = _skip_space(text, end, view.stop)
    newlines = text.count("\n", end, follow)
    if newlines > 1:
        return _Cut(end=end)
    if follow >= view.stop:
        return _Cut(end=end) if view.final else None
    structure = newlines > 0 and _starts_structure(view, follow)
    if structure is None:
        return None
    if structure or (run != "." and not text[follow].islower()):
        return _Cut(end=end)
    is_number = line_start and _LIST_NUMBER.fullmatch(text, view.start, at + 1)
    if text[follow].islower() or is_number:
        return _Cut(resume=end)
    return _after_word(view, at, end, follow)


def _after_word(view: _View, at: int, end: int, follow: int) -> _Cut | None:
    """A single full stop before a capital, a digit or a letter without case: abbreviation or end?"""
    found = _BEFORE_STOP.search(view.text, max(view.start, at - 20), at)
    if found is None:
        return _Cut(end=end)
    word = found.group()
    room = min(follow + _WORD_ROOM, view.stop)
    match = _WORD.match(view.text, follow, room)
    after = match.group() if match else ""
    if not view.final and follow + len(after) >= view.stop:
        return None
    return _Cut(resume=end) if _is_abbreviation(word, after.casefold()) else _Cut(end=end)


def _is_abbreviation(word: str, after: str) -> bool:
    folded = word.casefold()
    if folded in _ABBREVIATIONS:
        return True
    if folded in _NUMBER_ABBREVIATIONS and after[:1].isdigit():
        return True
    if word.isdigit():
        return len(word) <= 2 and after in _AFTER_ORDINAL
    if len(word) == 1:
        return word != "I" and word.upper() != word.lower()
    # U.S., a.m.: letters with stops between them; a new sentence only before a word that likes to start one.
    return "." in word and all(len(part) == 1 for part in word.split(".")) and after not in _STARTERS


def _starts_structure(view: _View, follow: int) -> bool | None:
    """Whether a list item, table row, heading or fence starts at `follow` (the start of a line)."""
    text = view.text
    if text[follow] in "|#`~":
        return True
    if not view.final and view.stop - follow < 7 and "\n" not in text[follow : view.stop]:
        return None
    return _LIST_ITEM.match(text, follow, view.stop) is not None


def _looks_like_json(text: str, begin: int, final: bool) -> bool | None:
    if text[begin] not in "{[":
        return False
    second = _skip_space(text, begin + 1)
    if second >= len(text) and not final:
        # White space without end is not JSON that anybody wrote.
        return False if len(text) - begin > _LOOKAHEAD else None
    if second - begin >= _LOOKAHEAD:
        return False
    return text[second : second + 1] in (('"', "}") if text[begin] == "{" else ('"', "{", "["))


# small steps --------------------------------------------------------------------------------------


def is_ordinal_noun(word: str) -> bool:
    """Whether "3. `word`" is a date or an ordinal number rather than a list item."""
    return word.casefold() in _AFTER_ORDINAL


def _skip_space(text: str, at: int, stop: int | None = None) -> int:
    found = _SPACE.match(text, at, len(text) if stop is None else stop)
    return found.end() if found else at


def _skip_closers(view: _View, at: int) -> int:
    closers = _CLOSERS if view.text[at - 1] in _HARD_STOPS else _LATIN_CLOSERS
    while at < view.stop and view.text[at] in closers and not (view.json and view.text[at] == '"'):
        at += 1
    return at


def _rstrip(text: str, begin: int, end: int) -> int:
    while end > begin and text[end - 1].isspace():
        end -= 1
    return end


def _is_decimal(text: str, at: int, run: str) -> bool:
    around = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    return run == "．" and len(around) == 2 and around.isdigit()


def _forced_cut(text: str, begin: int, farthest: int) -> int:
    for at in range(farthest, begin + MAX_SENTENCE // 2, -1):
        if text[at].isspace():
            return at
    return farthest
