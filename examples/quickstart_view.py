"""How the quickstart prints answers and its farewell: coloured on a terminal, plain everywhere else."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from quickstart_server import Server, log_file
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

Json = dict[str, Any]
_STYLES = {"exact": "green", "normalized": "green", "unverified": "yellow"}
_MEANINGS = {
    "exact": "word for word in the document",
    "normalized": "in the document, but for case and spacing",
    "unverified": "the nearest words, not proof of the sentence",
}


def show_question(console: Console, number: int, question: str, model: str) -> None:
    console.print()
    console.print(Rule(f"Question {number} · {model}", align="left", style="cyan"))
    console.print(Text(question, style="bold"))
    console.print()


def show_words(console: Console, words: str) -> None:
    """A piece of an answer, as it comes."""
    console.print(Text(printable(words)), end="", soft_wrap=True)


def printable(words: str) -> str:
    """Without control characters: neither a document nor a model may steer the terminal."""
    return "".join(c for c in words if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))


def show_citations(console: Console, citations: Sequence[Json]) -> None:
    """The sources that the answer uses: place, exact words, and how far they were verified."""
    console.print("\n")
    used = [citation for citation in citations if citation["cited"]]
    if not used:
        console.print(f"No passage supports this answer ({len(citations)} were given to the model).", style="yellow")
    for citation in used:
        console.print(source_line(citation))
        for span in citation["spans"]:
            console.print(quote_line(span), soft_wrap=True)


def source_line(citation: Json) -> Text:
    """The number of the source, its name and the pages that were quoted, where it has pages."""
    pages = {span["page"] for span in citation["spans"]} | ({citation["page"]} if not citation["spans"] else set())
    known = sorted(page for page in pages if page)
    place = f", page {' and '.join(map(str, known))}" if known else ""
    return Text.assemble((f"[{citation['index']}]", "bold cyan"), f" {printable(citation['source'])}{place}")


def quote_line(span: Json) -> Text:
    state = span["verification"]
    quote = " ".join(printable(span["quote"] or "(no quote)").split())
    meaning = (f" · {state}: {_MEANINGS.get(state, 'unknown')}", _STYLES.get(state, "yellow"))
    return Text.assemble("    “", textwrap.shorten(quote, 240, placeholder=" …"), "”", meaning)


def farewell(console: Console, server: Server, kb: str) -> None:
    """What to do next: the address, the key, two snippets that can be pasted, and how to stop."""
    console.print()
    console.print(Rule("The server keeps running", align="left", style="cyan"))
    console.print(Text(_NEXT.format(server=server, kb=kb, log=log_file(server.data))), soft_wrap=True)


_NEXT = """\
Base URL   {server.base_url}
Key        {server.key}
Log        {log}
Stop       make stop

curl {server.base_url}/chat/completions \\
  -H "Authorization: Bearer {server.key}" -H "Content-Type: application/json" \\
  -d '{{"model": "extractive", "knowledge_bases": ["{kb}"],
       "messages": [{{"role": "user", "content": "Which key opens the release cabinet?"}}]}}'

from openai import OpenAI

client = OpenAI(base_url="{server.base_url}", api_key="{server.key}")
answer = client.chat.completions.create(
    model="extractive",
    messages=[{{"role": "user", "content": "Which key opens the release cabinet?"}}],
    extra_body={{"knowledge_bases": ["{kb}"]}},
)
print(answer.choices[0].message.content)
for citation in answer.citations:
    print(citation["index"], citation["source"], citation["page"])"""
