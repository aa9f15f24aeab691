"""JSON, JSON lines and XML as `path: value` lines: a value is found together with the names above it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.html import decode_html, write_html
from ingestion.parse.mime import JSON, JSONL, XML
from ingestion.parse.text import read_text, write_text
from ingestion.parse.xml import Element, local, parse_xml
from rag.errors import DocumentError

_MAX_PATH = 500


def parse_json(path: Path) -> ParsedDocument:
    """One block per element of a top-level array or per key of a top-level object."""
    text = read_text(path)
    out = Canonical()
    try:
        value = orjson.loads(text.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        write_text(text, out)  # cut or hand-written: its words are still there
    else:
        for name, part in _parts(value):
            out.block("paragraph", "\n".join(_lines(name, part)))
    return out.build(JSON)


def parse_jsonl(path: Path) -> ParsedDocument:
    """One block per line."""
    out = Canonical()
    for line in read_text(path).split("\n"):
        try:
            value = orjson.loads(line.encode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            out.block("paragraph", line)
        else:
            out.block("paragraph", "\n".join(_lines("", value)))
    return out.build(JSONL)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        # Records read better without their number; plain values are one list.
        if all(isinstance(item, (dict, list)) for item in value):
            yield from (("", item) for item in value)
        else:
            yield "", value
    else:
        yield "", value


def _lines(name: str, value: Any) -> Iterator[str]:
    """`a.b[0]: value` for each leaf. The stack is explicit: depth is the sender's choice."""
    stack: list[tuple[str, Any]] = [(name, value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            stack.extend((_join(path, key), part) for key, part in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((f"{path}[{at}]"[-_MAX_PATH:], part) for at, part in reversed(list(enumerate(item))))
        elif item is not None and item != "":
            yield f"{path}: {_plain(item)}" if path else _plain(item)


def _join(path: str, key: str) -> str:
    return (f"{path}.{key}" if path else key)[-_MAX_PATH:]


def _plain(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item)


def parse_data_xml(path: Path) -> ParsedDocument:
    """One block per child of the root; XHTML is read as a page."""
    data = path.read_bytes()
    out = Canonical()
    try:
        root = parse_xml(data)
    except DocumentError:
        root = None
    if root is None or local(root) == "html":
        title = write_html(decode_html(data), out)  # damaged XML still shows its words to a forgiving reader
        return out.build(XML, title)
    own_words = _is_mixed(root) or bool(root.text and root.text.strip())
    for item in [root] if own_words else root:
        if local(item):
            out.block("paragraph", "\n".join(_leaves(item)))
    return out.build(XML)


def _leaves(top: Element) -> Iterator[str]:
    """`name: words` for each element that holds words of its own; attributes as `name@attribute: value`."""
    stack: list[Element] = [top]
    while stack:
        item = stack.pop()
        name = local(item)
        if not name:
            continue
        yield from (f"{name}@{str(key).rpartition('}')[2]}: {value}" for key, value in item.attrib.items() if value)
        words = fold("".join(_mixed(item)))
        if words:
            yield f"{name}: {words}"
        if not _is_mixed(item):
            stack.extend(reversed(item))


def _is_mixed(item: Element) -> bool:
    """Prose with marked words in it: text stands between the children."""
    return len(item) > 0 and any(part.tail and part.tail.strip() for part in item)


def _mixed(item: Element) -> Iterator[str]:
    if _is_mixed(item):
        yield from (str(text) for text in item.itertext())
    else:
        yield item.text or ""
