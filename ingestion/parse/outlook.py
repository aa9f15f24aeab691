"""Outlook messages: the envelope as in other mail, the body through `unstructured`."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.email import write_head
from ingestion.parse.html import decode_html, write_html
from ingestion.parse.mime import MSG
from ingestion.parse.text import write_text
from ingestion.parse.unstructured_elements import PartitionFailed, covers, partition, write_elements
from rag.errors import DocumentError

# The library takes a hundred times as long as our own readers, which read what is larger.
MAX_BODY_CHARS = 500_000
_HTML_PROPERTY = 0x1013
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Message:
    subject: str
    fields: list[tuple[str, str]]
    plain: str
    html: str
    attached: list[str]
    secret: bool


def parse_msg(path: Path) -> ParsedDocument:
    """One document from an Outlook message. Raises DocumentError needs_password for an encrypted one."""
    message = _read(path)
    if message.secret and not (message.plain.strip() or message.html.strip()):
        raise DocumentError(
            "needs_password", "The mail is encrypted. Save it decrypted from your mail program and upload that."
        )
    out = Canonical()
    write_head(out, message.subject, message.fields)
    _write_body(path, message, out)
    for name in message.attached:
        out.block("paragraph", f"Attachment: {fold(name)}")
    return out.build(MSG, message.subject)


def _read(path: Path) -> _Message:
    from oxmsg import Message

    try:
        message = Message.load(str(path))
        return _Message(
            subject=message.subject or "",
            fields=_fields(message),
            plain=(message.body or "").replace("\r\n", "\n"),
            html=_html(message),
            attached=[item.file_name or "unnamed" for item in message.attachments],
            secret=_encrypted(message),
        )
    except (OSError, ValueError, LookupError, AttributeError, TypeError, struct.error) as error:
        raise DocumentError(
            "corrupt_document", "The message is damaged. Save it again from Outlook, as EML if you can."
        ) from error


def _fields(message: Any) -> list[tuple[str, str]]:
    date = message.sent_date.isoformat(" ") if message.sent_date else ""
    return [("From", message.sender or ""), ("To", ", ".join(_recipients(message))), ("Date", date)]


def _recipients(message: Any) -> Iterator[str]:
    for item in message.recipients:
        yield f"{item.name} <{item.email_address}>" if item.name else str(item.email_address)


def _html(message: Any) -> str:
    """The declared code page of a message is often wrong for its HTML."""
    try:
        return message.html_body or ""
    except (ValueError, LookupError):
        return decode_html(message.properties.binary_prop_value(_HTML_PROPERTY) or b"")


def _encrypted(message: Any) -> bool:
    """S/MIME by the class of the message, OpenPGP by its header."""
    headers = {name.lower(): str(value).lower() for name, value in message.message_headers.items()}
    secure = message.message_class.lower().startswith("ipm.note.smime")
    return (secure and "signed" not in message.message_class.lower()) or "encrypted" in headers.get("content-type", "")


def _write_body(path: Path, message: _Message, out: Canonical) -> None:
    """By elements, unless they lack words that the message has: then by our own readers."""
    reference = _own_text(message)
    elements: Sequence[Any] = ()
    if reference and len(message.plain) + len(message.html) <= MAX_BODY_CHARS:
        elements = _elements(path)
    if covers(elements, reference):
        write_elements(elements, out, below=1)
    else:
        _write_own(message, out)


def _elements(path: Path) -> Sequence[Any]:
    """No elements where the library fails: the words are still there."""
    try:
        return partition("msg", path, process_attachments=False)
    except PartitionFailed as error:
        _log.warning("unstructured could not read an Outlook message, reading its body without: %s", error)
        return ()


def _own_text(message: _Message) -> str:
    probe = Canonical()
    _write_own(message, probe)
    return "" if probe.empty else probe.build(MSG).text


def _write_own(message: _Message, out: Canonical) -> None:
    if message.plain.strip() or not message.html:
        write_text(message.plain, out)
    else:
        write_html(message.html, out)
