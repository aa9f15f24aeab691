"""What a text looks like: one predicate per format, on the first part of a file."""

from __future__ import annotations

import csv
import re

import orjson

_MARKUP_LEAD = re.compile(r"(?:<\?xml[^>]*\?>|<!--.*?-->|\s+)*", re.S)
_HTML = re.compile(r"<!doctype\s+html|<(?:html|head|body|frameset)[\s>/]", re.I)
_TAG = re.compile(r"<[A-Za-z_][\w:.-]*[\s/>]")
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):(?:[ \t]|\r?\n|$)")
_MAIL_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "sender",
        "reply-to",
        "message-id",
        "in-reply-to",
        "references",
        "received",
        "return-path",
        "delivered-to",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "x-mailer",
        "dkim-signature",
        "list-id",
    ]
)
DELIMITERS = ",;\t|"
_MAX_LINES = 50


def is_html(text: str) -> bool:
    lead = _MARKUP_LEAD.match(text[:65_536])
    return bool(_HTML.match(text, lead.end() if lead else 0))


def is_xml(text: str, *, cut: bool = False) -> bool:
    """A declaration, or markup from the first to the last character. `cut`: the end was not read."""
    if text.startswith("<?xml"):
        return True
    closed = cut or text.rstrip().endswith(">")
    return bool(_TAG.match(text)) and closed and ("xmlns" in text[:2000] or "</" in text) and not _prose(text)


def is_mail(text: str) -> bool:
    """Two mail headers or more, and nothing but headers before the first blank line."""
    if text.startswith("From "):
        text = text.partition("\n")[2]
    names: list[str] = []
    for line in text[:65_536].splitlines():
        if not line.strip():
            break
        if line[0] in " \t" and names:
            continue
        header = _HEADER.match(line)
        if header is None:
            return False
        names.append(header[1].lower())
    known = _MAIL_HEADERS.intersection(names)
    return len(known) >= 2 and bool(known & {"from", "received", "message-id", "mime-version", "return-path"})


def is_json(text: str, *, cut: bool = False) -> bool:
    """A whole object or array. Where only the first part was read, its beginning decides."""
    if not text.startswith(("{", "[")):
        return False
    if cut:
        return bool(re.match(r'[\[{]\s*(?:["{\[\]}0-9tfn-])', text)) and not is_jsonl(text, cut=True)
    return _loads(text)


def is_jsonl(text: str, *, cut: bool = False) -> bool:
    """At least two lines, each of them an object or array of its own."""
    if not text.startswith(("{", "[")):
        return False
    lines = text.splitlines()
    if cut:
        lines = lines[:-1]
    lines = [line for line in lines[:_MAX_LINES] if line.strip()]
    return len(lines) >= 2 and all(line.lstrip()[0] in "{[" and _loads(line) for line in lines)


def is_csv(text: str) -> bool:
    """Two columns or more by the same delimiter in each of at least three lines."""
    return delimiter(text, strict=True) is not None


def delimiter(text: str, *, strict: bool = False) -> str | None:
    """The delimiter that splits the lines most evenly, None where none does.

    `strict`: every line must have the same number of cells (for files whose name promises nothing).
    """
    best: tuple[float, int, str] | None = None
    for mark in DELIMITERS:
        widths = [len(row) for row in _rows(text, mark) if row]
        if not widths or max(widths) < 2:
            continue
        usual = max(set(widths), key=lambda width: (widths.count(width), width))
        share = widths.count(usual) / len(widths)
        if strict and (share < 1 or len(widths) < 3):
            continue
        if usual >= 2 and (best is None or (share, usual) > best[:2]):
            best = (share, usual, mark)
    return best[2] if best else None


def _rows(text: str, mark: str) -> list[list[str]]:
    lines = text[:65_536].splitlines(keepends=True)
    # The last line of a long sample may be cut.
    lines = lines[:-1] if len(text) > 65_536 else lines
    try:
        return list(csv.reader(lines[:_MAX_LINES], delimiter=mark))
    except csv.Error:
        return []


def _loads(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text.encode("utf-8", "replace")), (dict, list))
    except orjson.JSONDecodeError:
        return False


def _prose(text: str) -> bool:
    """Markdown that begins with a tag has lines without any markup at all."""
    lines = [line for line in text[:4000].splitlines() if line.strip()]
    bare = sum("<" not in line and ">" not in line for line in lines)
    return bare > len(lines) / 2
