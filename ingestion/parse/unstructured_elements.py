"""The `unstructured` library as a backend: its elements become blocks of the canonical text.

It is imported with the first document that needs it (seconds, some 250 MB), and nothing of it is trusted to be
complete: it returns no elements, without an error, for much that it cannot read. Callers compare, see `covers`.
"""

from __future__ import annotations

import importlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from lxml.etree import LxmlError

from ingestion.parse.canonical import Canonical, normalize
from ingestion.parse.elements import BlockKind
from ingestion.parse.html import write_html

_FAULTS = (OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError, RuntimeError, SyntaxError)
_ENVIRONMENT = {"DO_NOT_TRACK": "1", "SCARF_NO_ANALYTICS": "true", "UNSTRUCTURED_DISABLE_NOTICE": "1"}
_KINDS: dict[str, BlockKind] = {"ListItem": "list_item", "FigureCaption": "caption", "CodeSnippet": "code"}
_MARKED = re.compile(r"(?:\d+|[A-Za-z])[.)]\s|[-*•]\s")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\w+")
# Mail programs spell out the links of a letter when they make its plain form.
_LINK = re.compile(r"<[^<>\s]*>|\b(?:https?://|mailto:)\S+")
_COVERED = 0.9


class PartitionFailed(Exception):
    """The library raised what it raises for files that it cannot read. (Too little memory is not among it.)"""


def partition(module: str, path: Path, **options: Any) -> Sequence[Any]:
    """Elements of one file by `unstructured.partition.<module>`, without language detection. Raises PartitionFailed."""
    prepare()
    errors = importlib.import_module("unstructured.errors")
    function = getattr(importlib.import_module(f"unstructured.partition.{module}"), f"partition_{module}")
    try:
        elements: Sequence[Any] = function(filename=str(path), languages=[""], **options)
    except (*_FAULTS, LxmlError, BadZipFile, errors.UnprocessableEntityError) as error:
        raise PartitionFailed(f"{type(error).__name__}: {error}") from error
    return elements


@cache
def prepare() -> None:
    """Imports the library so that it reports to nobody and downloads no language model.

    A blank model tells words and sentences apart. The library asks for no more than a guess at what a paragraph is.
    """
    os.environ.update(_ENVIRONMENT)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = "/"  # asked for on import; a parser process may write nowhere, and need not
    tokenize: Any = importlib.import_module("unstructured.nlp.tokenize")
    tokenize._load_spacy_model = _blank_model


def _blank_model() -> Any:
    """Its tokenizer is ours: spaCy's takes minutes for a long row of brackets or emoji (quadratic)."""
    spacy: Any = importlib.import_module("spacy")
    model = spacy.blank("en")
    model.tokenizer = lambda text: spacy.tokens.Doc(model.vocab, words=_TOKEN.findall(text))
    model.add_pipe("sentencizer")
    return model


def write_elements(elements: Sequence[Any], out: Canonical, *, below: int = 0) -> None:
    """Adds the elements as blocks; headings of the document come `below` levels deeper."""
    for element in elements:
        _WRITERS.get(element.category, _write_text)(element, out, below)


def _write_title(element: Any, out: Canonical, below: int) -> None:
    """Only markup has a depth. A title without one is a guess from a short line, such as "Thank you"."""
    depth = element.metadata.category_depth
    if depth is None:
        out.block("paragraph", element.text)
    else:
        out.heading(depth + 1 + below, element.text)


def _write_table(element: Any, out: Canonical, below: int) -> None:
    """The plain text of a table has lost its cells; its HTML has them."""
    html = element.metadata.text_as_html
    if html:
        write_html(html, out)
    else:
        out.block("table", element.text)


def _write_text(element: Any, out: Canonical, below: int) -> None:
    kind = _KINDS.get(element.category, "paragraph")
    marker = "- " if kind == "list_item" and not _MARKED.match(element.text) else ""
    out.block(kind, marker + element.text if element.text else "")


def _write_nothing(element: Any, out: Canonical, below: int) -> None:
    """A page break has no words."""


_WRITERS: dict[str, Callable[[Any, Canonical, int], None]] = {
    "Title": _write_title,
    "Table": _write_table,
    "PageBreak": _write_nothing,
}


def covers(elements: Sequence[Any], reference: str) -> bool:
    """Whether the elements hold nearly all the different words of `reference`, another reading of the same text.

    No elements cover nothing, and an empty reference proves nothing.
    """
    found = _words("\n".join(element.text for element in elements))
    wanted = _words(_LINK.sub(" ", reference))
    return bool(found and wanted) and len(wanted & found) >= _COVERED * len(wanted)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(normalize(text).casefold()))
