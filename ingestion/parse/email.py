"""Mail: who wrote what to whom, the body, and the names of the attachments."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.decode import decode
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.html import decode_html, write_html
from ingestion.parse.mime import EML
from ingestion.parse.text import read_text, write_text
from rag.errors import DocumentError

MAX_PARTS = 1_000
_HEADERS = ("From", "To", "Cc", "Date")
_ENCRYPTED = frozenset({"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})


def parse_eml(path: Path) -> ParsedDocument:
    """One document from an RFC 822 message. Raises DocumentError needs_password for an encrypted one."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) or b"\0" in data[:64]:
        data = read_text(path).encode("utf-8", "replace")
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    parts = _parts(message)
    if any(part.get_content_type() in _ENCRYPTED and not _signed(part) for part in parts):
        raise DocumentError(
            "needs_password",
            "The mail is encrypted. Save it decrypted from your mail program and upload that.",
        )
    out = Canonical()
    subject = _header(message, "Subject")
    write_head(out, subject, [(name, _header(message, name)) for name in _HEADERS])
    _write_body(out, parts)
    return out.build(EML, subject)


def _parts(message: EmailMessage) -> list[EmailMessage]:
    parts: list[EmailMessage] = []
    for part in message.walk():
        if len(parts) >= MAX_PARTS:
            raise DocumentError("too_large", f"The mail has more than {MAX_PARTS:,} parts. Save its parts one by one.")
        parts.append(part)
    return parts


def _signed(part: EmailMessage) -> bool:
    """S/MIME uses one type for both; a signature leaves the words readable."""
    return str(part.get_param("smime-type", "")).lower() == "signed-data"


def _header(message: EmailMessage, name: str) -> str:
    """A header's words; broken ones raise all kinds of errors in the standard library, so the raw text
    stands in."""
    try:
        value = message.get(name)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, LookupError):
        value = next((raw for key, raw in message.raw_items() if key.lower() == name.lower()), None)
    return fold(str(value)) if value else ""


def write_head(out: Canonical, subject: str, fields: list[tuple[str, str]]) -> None:
    out.heading(1, subject)
    out.block("paragraph", "\n".join(f"{name}: {value}" for name, value in fields if value))


def _write_body(out: Canonical, parts: list[EmailMessage]) -> None:
    attached = [name for part in parts if (name := _attachment(part))]
    shown = [part for part in parts if not _attachment(part)]
    plain = [text for part in shown if part.get_content_type() == "text/plain" and (text := _text(part)).strip()]
    html = [text for part in shown if part.get_content_type() == "text/html" and (text := _text(part)).strip()]
    if html and not _plain_is_enough(plain, html):
        for text in html:
            write_html(text, out)
    else:
        for text in plain:
            write_text(text.replace("\r\n", "\n"), out)
    for name in attached:
        out.block("paragraph", f"Attachment: {name}")


def _plain_is_enough(plain: list[str], html: list[str]) -> bool:
    """Many senders put "open this in a browser" into the plain part and the letter into the other."""
    probe = Canonical()
    for text in html:
        write_html(text, probe)
    words = 0 if probe.empty else len(probe.build(EML).text)
    return sum(map(len, plain)) * 2 >= words


def _attachment(part: EmailMessage) -> str:
    """The name of an attached file, "" for the body's own parts."""
    if part.is_multipart():
        return ""
    name = part.get_filename()
    if name or part.get_content_disposition() == "attachment":
        return fold(name or "unnamed") + f" ({part.get_content_type()})"
    return ""


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else str(part.get_payload()).encode("utf-8", "replace")
    if part.get_content_type() == "text/html" and not part.get_content_charset():
        return decode_html(data)
    return decode(data, part.get_content_charset()) or data.decode("latin-1")
