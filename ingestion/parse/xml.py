"""XML read safely: entities are never expanded, nothing is fetched, depth is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from rag.errors import DocumentError

Element = Any  # lxml ships no types of its own

_DAMAGED = (
    "A part of the file is not well-formed XML. Open it in the program that made it, save it again and upload it."
)


def parse_xml(data: bytes, *, recover: bool = False) -> Element:
    """The root element. `recover`: take what can be read of a damaged part.

    libxml2 itself refuses more than 256 levels without huge_tree, so nothing here can recurse deeply.
    Raises DocumentError corrupt_document.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        remove_comments=True,
        remove_pis=True,
        recover=recover,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _failure(error) from error
    if root is None:
        raise DocumentError("corrupt_document", _DAMAGED)
    return root


def stream_xml(pieces: Iterator[bytes], names: frozenset[str]) -> Iterator[Element]:
    """Elements whose local name is in `names`, as they close; each is emptied after it was seen."""
    parser = etree.XMLPullParser(
        events=("end",), resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False
    )
    try:
        for piece in pieces:
            parser.feed(piece)
            yield from _closed(parser, names)
        parser.close()
        yield from _closed(parser, names)
    except etree.XMLSyntaxError as error:
        raise _failure(error) from error


def _failure(error: Exception) -> Exception:
    """libxml2 reports its lack of memory as one more syntax error."""
    if getattr(error, "code", None) == etree.ErrorTypes.ERR_NO_MEMORY:
        return MemoryError("libxml2 ran out of memory")
    return DocumentError("corrupt_document", _DAMAGED)


def _closed(parser: Any, names: frozenset[str]) -> Iterator[Element]:
    for _, element in parser.read_events():
        if local(element) not in names:
            continue
        yield element
        element.clear(keep_tail=False)
        # Emptied siblings would pile up under the parent: a million rows are a million hollow elements.
        while element.getprevious() is not None:
            del element.getparent()[0]


def local(element: Element) -> str:
    """The name without its namespace: Strict and Transitional OOXML differ in nothing else that matters
    here."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """An attribute by local name, whatever its namespace."""
    value = element.get(name)
    if value is not None:
        return str(value)
    for key, found in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(found)
    return None


def child(element: Element, *path: str) -> Element | None:
    """The first descendant along a path of local names."""
    for name in path:
        element = next((item for item in element if local(item) == name), None)
        if element is None:
            return None
    return element


def every(element: Element, name: str) -> Iterator[Element]:
    """All descendants with this local name, in document order."""
    return iter(element.iter(f"{{*}}{name}"))
