"""A chat model without a neural network: it answers with the sentences of the passages that support an answer
best.

Every sentence is quoted word for word with its `[n]` marker, so each citation verifies as `exact`. The choice
is lexical: rare words of the question count more (inverse document frequency over the sentences shown),
numbers and code-like words more still, words of the headings, of the table's header row and of the
neighbouring sentences a little; the rank of the passage breaks ties. A heading or a table's header row is
never quoted for itself; the header row comes with a row where it names what was asked for. Nothing is quoted
where the best sentences hold too little of the question, or name nothing of the attribute asked for ("What is
the salary of …?"). Same request, same answer: sampling parameters change nothing.

A token of this model is a run of characters without white space, or one character of a script written without
spaces. `max_tokens`, the usage counts and `count_tokens` all count these.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rag.citations import CitationStream, Sources
from rag.citations.markers import find_markers
from rag.citations.sources import PassageText
from rag.citations.terms import RUN, is_run_character, numbers, terms, words
from rag.errors import ContextLengthExceeded, InvalidRequest
from rag.types import Delta, GenerationRequest, Message, Passage, Usage

CONTEXT_LENGTH = 131_072
NOT_ANSWERED = "None of the passages found in the knowledge bases answers this question."
NO_PASSAGES = (
    'The model "extractive" can only quote passages of knowledge bases, and it was given none with this '
    "question: pass the ids of your knowledge bases in `knowledge_bases`, or choose a generative model."
)

_MOST_SENTENCES = 3
_MOST_CHOICES = 128
_ENOUGH_GAIN = 0.18  # share of the question's weight that one more sentence must add
_CLOSE = 0.8  # or how near to the best sentence's score it must come
_CLOSE_SENTENCES = 2
_STAND_IN = 0.6  # share of the best score that may answer where the best sentence cannot be quoted
_LEAST_COVERAGE = 0.12
_LEAST_ANSWERED = 0.18  # share of the question's weight in all chosen sentences, below which nothing is said
_LEAST_IN_TABLE = 0.5  # the same for rows of a table that nowhere names the thing asked for
_LEAST_SURE = 0.7  # share in one sentence from which the attribute asked for need not be named
_HEADER_SHARE = 0.1  # share of the question's weight for which a header row is worth quoting with its row
_LABEL_WORDS = 8
_HEADED, _LABEL, _COLUMNS = 0, 1, 2
_DEEPEST = 6  # levels of Markdown headings
_CONTEXT_SHARE = 0.35
_HEADING_SHARE = 0.5
_NUMBER_BONUS = 0.15
_RANK_PRIOR = 0.25
_SHORT_WORDS = 4

_TOKEN = re.compile(rf"\s*(?:[{RUN}]|[^\s{RUN}]+)|\s+")
_BULLET = re.compile(r"(?:[-*+•‣◦–—]|\(?\d{1,3}[.)])\s+")
_HEADING = re.compile(r"#{1,6}\s|(?:={3,}|-{3,}|\*{3,}|```|~~~)")
_TABLE_RULE = re.compile(r"[|\s:+-]+")
_CODE_LIKE = re.compile(r"\w*[\d_]\w*|\w+(?:[./:_-]\w+)+|[A-Z]{2,}\w*|\w+[a-z][A-Z]\w*")
_ENDED = tuple(".!?…。！？।॥؟۔:：|\"'”’»)]）」』】*`;")
# "What is the salary of …?": the attribute that the answer has to be about.
_ATTRIBUTE = re.compile(
    r"(?:what|which)(?:['’]s| is| was| are| were) (?:the|its|his|her|their) ((?:[\w-]+ ){0,2}?[\w-]+) of\b|"
    r"wie (?:lautet|hei(?:ß|ss)t|hoch (?:ist|war)) (?:der|die|das) ([\w-]+)|"
    r"was (?:ist|war) (?:der|die|das) ([\w-]+) (?:de[rs]|von|für)\b|"
    r"cu[áa]l(?:es)? (?:es|era|fue|son|eran) (?:el|la|los|las) ([\w-]+) del?\b|"
    r"quel(?:le)?s? (?:est|était|sont|étaient) (?:le |la |les |l['’])([\w-]+) d",
    re.IGNORECASE,
)
_THING = re.compile(r"\b(?:which|what|welche[rsmn]?|qu[ée]|cu[áa]l|quel(?:le)?s?)\s+([\w-]+)", re.IGNORECASE)
# Attributes that texts state without naming them.
_UNNAMED = frozenset(
    terms(
        "name names nickname term word title type kind number amount percentage percent share ratio size age "
        "gender date year range role part name names bezeichnung begriff zahl anzahl anteil größe alter titel "
        "datum jahr nombre nombres término título tipo número cantidad porcentaje tamaño edad fecha año papel "
        "nom terme titre nombre numéro taille âge date"
    )
)
_QUANTITY = re.compile(
    r"how (?:many|much|long|old|far|often|high|large|big)|when|what (?:year|date|time|percent\w*|number)|"
    r"wie ?viele?|wie (?:lange|alt|hoch|weit|oft|groß)|wann|welche[ms]? (?:jahr|datum)|"
    r"cu[áa]nt[oa]s?|cu[áa]ndo|qu[ée] (?:año|fecha|porcentaje)|combien|quand|"
    r"多少|几|哪年|哪一年|什么时候|何时|多久|多大|多长|いつ|いくつ|いくら|何年|何人",
    re.IGNORECASE,
)


class ExtractiveGenerator:
    """rag.ports.Generator without a model: see the module's text. Raises InvalidRequest for what it cannot
    do."""

    @property
    def model(self) -> str:
        return "extractive"

    async def context_length(self) -> int:
        return CONTEXT_LENGTH

    async def count_tokens(self, messages: Sequence[Message], params: Mapping[str, Any]) -> int:
        """Tokens of the messages' text; `params` adds none, for this model takes no tools."""
        return sum(len(tokens(message.text)) for message in messages)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """One delta per token for each of `n` equal choices, then their finish, then the usage."""
        wanted = _Wanted.read(request)
        question = request.question or _last_question(request.messages)
        prompt = await self.count_tokens(request.messages, request.params)
        if prompt > CONTEXT_LENGTH:
            raise ContextLengthExceeded(
                f"the messages have {prompt} tokens; {self.model} reads {CONTEXT_LENGTH}. Shorten the conversation",
                param="messages",
            )
        if request.searched or request.passages:
            answer = await asyncio.to_thread(compose, question, request.passages)
        else:
            answer = NO_PASSAGES
        pieces, reason = wanted.cut(answer)
        for choice in range(wanted.n):
            yield Delta(choice=choice, role="assistant")
            for piece in pieces:
                yield Delta(choice=choice, text=piece)
            yield Delta(choice=choice, finish_reason=reason)
        yield Delta(usage=Usage(prompt, len(pieces) * wanted.n))


def tokens(text: str) -> list[str]:
    """`text` in the tokens of this model, each with the white space before it; joined they are `text`."""
    return _TOKEN.findall(text)


def compose(question: str, passages: Sequence[Passage]) -> str:
    """The answer: one to three sentences of the passages, each with its marker, or that there is none."""
    ranking = _Ranking(question, Sources(passages))
    chosen = ranking.choose()
    if not chosen:
        return NOT_ANSWERED
    return _join(chosen, ranking.sources)


# what is asked for ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The request fields that this model honours."""

    n: int
    most_tokens: int | None
    stops: tuple[str, ...]

    @classmethod
    def read(cls, request: GenerationRequest) -> _Wanted:
        params = request.params
        _refuse_unknown_abilities(params)
        for message in request.messages:
            if isinstance(message.content, tuple) and any(p.get("type") != "text" for p in message.content):
                raise _unable("messages", "reads text only: send the message's content as text")
        limits = [
            _whole(params, name, 1, None)
            for name in ("max_completion_tokens", "max_tokens")
            if params.get(name) is not None
        ]
        n = _whole(params, "n", 1, _MOST_CHOICES) if params.get("n") is not None else 1
        return cls(n, min(limits) if limits else None, _stops(params.get("stop")))

    def cut(self, answer: str) -> tuple[list[str], str]:
        """The tokens to send and the reason for ending: `stop`, or `length` where max_tokens cut it."""
        ends = [at for stop in self.stops if (at := answer.find(stop)) >= 0]
        pieces = tokens(answer[: min(ends)] if ends else answer)
        if self.most_tokens is not None and len(pieces) > self.most_tokens:
            return pieces[: self.most_tokens], "length"
        return pieces, "stop"


def _refuse_unknown_abilities(params: Mapping[str, Any]) -> None:
    if (params.get("tools") or params.get("functions")) and params.get("tool_choice") != "none":
        raise _unable("tools", 'calls no tools: leave `tools` out, or send `tool_choice: "none"`')
    shape = params.get("response_format")
    if shape and not (isinstance(shape, Mapping) and shape.get("type") == "text"):
        raise _unable("response_format", "answers in plain text only: leave `response_format` out")
    modalities = params.get("modalities")
    if modalities and list(modalities) != ["text"]:
        raise _unable("modalities", "answers in plain text only: leave `modalities` out")
    for name in ("logprobs", "top_logprobs", "logit_bias", "audio"):
        if params.get(name):
            raise _unable(name, f"has no probabilities and no voice: leave `{name}` out")


def _unable(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f'The model "extractive" {what}, or choose a generative model.', param=param)


def _whole(params: Mapping[str, Any], name: str, least: int, most: int | None) -> int:
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
        limit = f" and at most {most}" if most else ""
        raise InvalidRequest(f"`{name}` must be a whole number of at least {least}{limit}.", param=name)
    return value


def _stops(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    listed = [stop] if isinstance(stop, str) else stop
    if not isinstance(listed, list | tuple) or not all(isinstance(s, str) and s for s in listed):
        raise InvalidRequest("`stop` must be a non-empty string or a list of such strings.", param="stop")
    return tuple(listed)


def _last_question(messages: Sequence[Message]) -> str:
    return next((m.text for m in reversed(messages) if m.role == "user"), "")


# what is said --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence that may be quoted: passage (0-based), place in it, its own terms and those around it.

    `label`: a heading or the like, quoted only where nothing else is. `header`: the header row above a row.
    """

    passage: int
    start: int
    text: str
    terms: frozenset[str]
    around: frozenset[str] = field(default_factory=frozenset)
    label: bool = False
    header: _Sentence | None = None

    def answer(self) -> str:
        return f"{self.text} [{self.passage + 1}]"


class _Ranking:
    """The sentences of the passages, weighed against one question."""

    def __init__(self, question: str, sources: Sources) -> None:
        self.sources = sources
        self._sentences = [s for n in range(len(sources)) for s in _quotable(sources, n)]
        seen = Counter(term for sentence in self._sentences for term in sentence.terms)
        total = len(self._sentences)
        marked = set(terms(" ".join(_CODE_LIKE.findall(question))))
        self._weights = {
            term: math.log(1 + total / (seen[term] or 0.5)) * (1.5 if term in marked else 1)
            for term in set(terms(question))
        }
        self._sum = sum(self._weights.values()) or 1.0
        self._quantity = _QUANTITY.search(question) is not None
        self._asked = " ".join(words(question)).casefold()
        self._question = question.rpartition("\n")[2]  # without the earlier questions of a conversation

    def choose(self) -> list[_Sentence]:
        """The answer in reading order, the passage of the best sentence first; empty where the best ones
        answer too little. Each sentence verifies as exact."""
        chosen = self._best()
        if not chosen or not self._answers(chosen):
            return []
        chosen = self._with_header(chosen)
        first = {s.passage: i for i, s in reversed(list(enumerate(chosen)))}
        return sorted(chosen, key=lambda s: (first[s.passage], s.start))

    def _best(self) -> list[_Sentence]:
        """Best first: sentences that add something."""
        scored = sorted(((self._score(s), -i, s) for i, s in enumerate(self._sentences)), reverse=True)
        chosen: list[_Sentence] = []
        best, covered = 0.0, set[str]()
        for score, _, sentence in scored:
            if len(chosen) == _MOST_SENTENCES or score <= 0:
                break
            if chosen and not self._adds(sentence, score, best, covered, len(chosen)):
                continue
            if not chosen and score < _STAND_IN * scored[0][0]:
                break
            if self._repeats(sentence, chosen) or not _verifies([sentence], sentence.answer(), self.sources):
                continue
            best = best or score
            covered |= sentence.terms
            chosen.append(sentence)
        return chosen

    def _answers(self, chosen: list[_Sentence]) -> bool:
        """Whether the sentences hold enough of the question, and what it asks for in particular.

        Meant for questions about what the passages do not tell; their words alone cannot show every one.
        """
        said = frozenset[str]().union(*(s.terms for s in chosen))
        near = said.union(*(s.around for s in chosen))
        share = self._weight(said)
        support = share + _CONTEXT_SHARE * self._weight(near - said)
        if support < _LEAST_ANSWERED and not any(map(is_run_character, self._question)):
            return False
        if max(self._weight(s.terms) for s in chosen) < _LEAST_SURE and self._lacks(_ATTRIBUTE, near):
            return False
        if share >= _LEAST_IN_TABLE or not all(s.text.startswith("|") for s in chosen):
            return True
        shown = frozenset[str]().union(*(s.terms | s.around for s in self._sentences))
        return not self._lacks(_THING, shown)

    def _lacks(self, pattern: re.Pattern[str], found: frozenset[str]) -> bool:
        """Whether the question names, in the way of `pattern`, a thing that `found` has no word of."""
        match = pattern.search(self._question)
        named = set(terms(next(filter(None, match.groups()), ""))) if match else set()
        return bool(named) and not named & (found | _UNNAMED)

    def _with_header(self, chosen: list[_Sentence]) -> list[_Sentence]:
        """A row's header row as well, where it holds words of the question that are not in the row."""
        for row in chosen:
            header = row.header
            if header is None or len(chosen) == _MOST_SENTENCES or header in chosen:
                continue
            helps = self._weight(header.terms - row.terms) >= _HEADER_SHARE
            if helps and _verifies([header], header.answer(), self.sources):
                chosen = [*chosen, header]
        return chosen

    def _score(self, sentence: _Sentence) -> float:
        own = self._weight(sentence.terms)
        if own < _LEAST_COVERAGE:
            return 0.0
        around = self._weight(sentence.around - sentence.terms)
        bonus = _NUMBER_BONUS if self._quantity and _has_number(sentence.text) else 0.0
        value = own + _CONTEXT_SHARE * around + bonus + _RANK_PRIOR / (sentence.passage + 1)
        return value * self._form(sentence)

    def _form(self, sentence: _Sentence) -> float:
        """Questions, labels and the like of headings answer little."""
        if sentence.label or sentence.text.rstrip("*_ ").endswith(("?", "？", "؟")):
            return 0.4
        if len(words(sentence.text)) < _SHORT_WORDS and "|" not in sentence.text:
            return 0.6
        return 1.0

    def _weight(self, found: frozenset[str]) -> float:
        return sum(weight for term, weight in self._weights.items() if term in found) / self._sum

    def _adds(self, sentence: _Sentence, score: float, best: float, covered: set[str], count: int) -> bool:
        if sentence.label:
            return False
        gain = self._weight(frozenset(sentence.terms - covered))
        close = score >= _CLOSE * best and count < _CLOSE_SENTENCES
        return close or (gain >= _ENOUGH_GAIN and score >= 0.5 * best)

    def _repeats(self, sentence: _Sentence, chosen: list[_Sentence]) -> bool:
        said = " ".join(words(sentence.text)).casefold()
        others = [" ".join(words(other.text)).casefold() for other in chosen]
        return said == self._asked or any(said in other or other in said for other in others)


def _quotable(sources: Sources, n: int) -> list[_Sentence]:
    """The sentences of passage n that can be quoted, with the words around each."""
    page = sources.pages[n]
    trail = _Trail(page.passage.headings)
    rows: list[_Sentence] = []
    header: _Sentence | None = None
    top: frozenset[str] = frozenset()
    previous: frozenset[str] = frozenset()
    for number, (begin, end) in enumerate(page.sentences):
        start, text = _bare(page.text, begin, end, len(sources))
        found = frozenset(terms(text))
        marked = any(marker.numbers for marker in find_markers(text, len(sources)))
        if not text.startswith("|"):
            header, top = None, frozenset()
        elif not top:
            top = found
            if _is_header(page, number) and not marked:
                header = _Sentence(n, start, text, found, trail.terms)
                continue
        level = trail.level(page, number, text)
        if level != _HEADED and found and not marked:
            around = trail.terms | top | previous
            rows.append(_Sentence(n, start, text, found, around, level is not None, header))
        trail.follow(level, text, found)
        previous = found
    return rows


class _Trail:
    """The headings above the sentence that is read: words of each, by level."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._titles = {" ".join(words(h)).casefold() for h in headings}
        self._path = [(0, frozenset(terms(" ".join(headings))))]

    @property
    def terms(self) -> frozenset[str]:
        return frozenset[str]().union(*(found for _, found in self._path))

    def level(self, page: PassageText, number: int, text: str) -> int | None:
        """_HEADED for a heading with markup or one known by name, _LABEL and _COLUMNS for what looks like one
        or like the header of a table, None for anything else."""
        if _is_heading(text, self._titles):
            return _HEADED
        return _label(page, number)

    def follow(self, level: int | None, text: str, found: frozenset[str]) -> None:
        """Goes on behind a sentence: a heading ends those that are not above it."""
        if level is None or not found:
            return
        marks = len(text) - len(text.lstrip("#"))
        depth = (marks or _DEEPEST) if level == _HEADED else _DEEPEST + level
        self._path = [(above, held) for above, held in self._path if above < depth] + [(depth, found)]


def _is_header(page: PassageText, number: int) -> bool:
    """Whether the line below sentence `number` is the rule of a Markdown table."""
    below = page.sentences[number + 1 : number + 2]
    return bool(below) and _TABLE_RULE.fullmatch(page.text, *below[0]) is not None


def _label(page: PassageText, number: int) -> int | None:
    """What a short line without figures and without a stop is: a heading between blank lines (_LABEL), the
    header of a table without rules straight above a line with figures (_COLUMNS), or neither."""
    if number + 1 >= len(page.sentences):
        return None
    (start, end), (below, bottom) = page.sentences[number], page.sentences[number + 1]
    text = page.text[start:end]
    if text.endswith(_ENDED) or "\n" in text or _BULLET.match(text) or _has_number(text):
        return None
    alone = number == 0 or page.text.count("\n", page.sentences[number - 1][1], start) > 1
    if not alone or len(words(text)) > _LABEL_WORDS or text[0].islower():
        return None
    if page.text.count("\n", end, below) > 1:
        return _LABEL
    row = page.text[below:bottom]
    return _COLUMNS if _has_number(row) and not row.endswith(_ENDED) else None


def _bare(text: str, start: int, end: int, shown: int) -> tuple[int, str]:
    """The sentence without its bullet and without the source's own markers behind it."""
    bullet = _BULLET.match(text, start, end)
    start = bullet.end() if bullet else start
    sentence = text[start:end]
    for marker in reversed(find_markers(sentence, shown)):
        if sentence[marker.end :].strip():
            break
        sentence = sentence[: marker.start]
    return start, sentence


def _is_heading(text: str, titles: set[str]) -> bool:
    if _HEADING.match(text) or _TABLE_RULE.fullmatch(text):
        return True
    return " ".join(words(text)).casefold() in titles


def _has_number(text: str) -> bool:
    return bool(numbers(text)) or any(c.isnumeric() for c in text)


def _join(chosen: list[_Sentence], sources: Sources) -> str:
    """The sentences with their markers: on one line where that reads and still cuts as it should."""
    parts = [chosen[0].answer()]
    for left, right in pairwise(chosen):
        running = left.text.endswith(_ENDED) and "|" not in left.text[:1] + right.text[:1]
        parts.append((" " if running else "\n") + right.answer())
    answer = "".join(parts)
    return answer if _verifies(chosen, answer, sources) else "\n\n".join(s.answer() for s in chosen)


def _verifies(chosen: list[_Sentence], answer: str, sources: Sources) -> bool:
    """Whether every sentence of the answer is cited as exact from its own passage, and nothing else is
    cited."""
    stream = CitationStream(sources)
    for _ in (*stream.feed(answer), *stream.close()):
        pass
    found = [(n, span.quote) for n, span in stream.spans if span.verification == "exact"]
    return len(found) == len(stream.spans) and found == [(s.passage, s.text) for s in chosen]
