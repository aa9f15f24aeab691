"""The content type of a file by what is in it. A name is a hint among text formats and nothing more."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from ingestion.parse import mime
from ingestion.parse.archive import Archive
from ingestion.parse.decode import decode
from ingestion.parse.sniff import is_csv, is_html, is_json, is_jsonl, is_mail, is_xml
from rag.errors import DocumentError

MAX_TEXT_BYTES = 200_000_000
_HEAD = 262_144

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", mime.PDF),
    (b"\x89PNG\r\n\x1a\n", mime.PNG),
    (b"\xff\xd8\xff", mime.JPEG),
    (b"GIF87a", mime.GIF),
    (b"GIF89a", mime.GIF),
    (b"II*\0", mime.TIFF),
    (b"MM\0*", mime.TIFF),
    (b"{\\rtf", mime.RTF),
)
_MAGIC_INSIDE: tuple[tuple[bytes, int, bytes, str], ...] = (
    (b"RIFF", 8, b"WEBP", mime.WEBP),
    (b"BM", 6, b"\0\0\0\0", mime.BMP),
)
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

# The main part of each container, for files whose [Content_Types].xml or mimetype is missing or wrong.
_PARTS: tuple[tuple[str, str], ...] = (
    ("word/document.xml", mime.DOCX),
    ("ppt/presentation.xml", mime.PPTX),
    ("xl/workbook.xml", mime.XLSX),
    ("xl/workbook.bin", mime.XLSB),
    ("META-INF/container.xml", mime.EPUB),
)
_OOXML: tuple[tuple[bytes, str], ...] = (
    (b"wordprocessingml.document.main", mime.DOCX),
    (b"wordprocessingml.template.main", mime.DOCX),
    (b"ms-word.document.macroenabled.main", mime.DOCX),
    (b"ms-word.template.macroenabledtemplate.main", mime.DOCX),
    (b"presentationml.presentation.main", mime.PPTX),
    (b"presentationml.slideshow.main", mime.PPTX),
    (b"presentationml.template.main", mime.PPTX),
    (b"ms-powerpoint.presentation.macroenabled.main", mime.PPTX),
    (b"ms-powerpoint.slideshow.macroenabled.main", mime.PPTX),
    (b"spreadsheetml.sheet.main", mime.XLSX),
    (b"spreadsheetml.template.main", mime.XLSX),
    (b"ms-excel.sheet.macroenabled.main", mime.XLSX),
    (b"ms-excel.template.macroenabled.main", mime.XLSX),
    (b"ms-excel.sheet.binary.macroenabled.main", mime.XLSB),
)
_MIMETYPES: tuple[tuple[str, str], ...] = (
    ("application/epub+zip", mime.EPUB),
    (mime.ODT, mime.ODT),
    (mime.ODS, mime.ODS),
    (mime.ODP, mime.ODP),
)
_OLE_STREAMS: tuple[tuple[str, str], ...] = (
    ("worddocument", mime.DOC),
    ("powerpoint document", mime.PPT),
    ("workbook", mime.XLS),
    ("book", mime.XLS),
    ("__properties_version1.0", mime.MSG),
)
_SUFFIXES = {
    ".md": mime.MARKDOWN,
    ".markdown": mime.MARKDOWN,
    ".mdown": mime.MARKDOWN,
    ".csv": mime.CSV,
    ".tsv": mime.CSV,
    ".tab": mime.CSV,
    ".txt": mime.TEXT,
    ".text": mime.TEXT,
    ".log": mime.TEXT,
    ".html": mime.HTML,
    ".htm": mime.HTML,
    ".xhtml": mime.HTML,
}
_TAG = re.compile(r"<(p|div|span|h[1-6]|table|ul|ol|a|b|i|br|img|body|head|section|article)\b[^>]*>", re.I)


def detect(path: Path, name: str) -> str:
    """The content type (mime.py). Raises DocumentError empty_document, needs_password, unsupported_document,
    too_large or corrupt_document; OSError where the file cannot be read."""
    size = path.stat().st_size
    if size == 0:
        raise DocumentError("empty_document", "The file is empty (0 bytes). Upload a file that contains text.")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return _by_magic(path, head) or _text_type(head, size, name)


def _by_magic(path: Path, head: bytes) -> str | None:
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    if head.startswith((*_ZIP_MAGIC, _OLE_MAGIC)):
        return _ole_type(path) if head.startswith(_OLE_MAGIC) else _zip_type(path)
    for lead, at, magic, content_type in _MAGIC_INSIDE:
        if head.startswith(lead) and head[at:].startswith(magic):
            return content_type
    # Readers accept junk before the header (mail gateways and scanners put it there).
    if b"%PDF-" in head[:1024] and (b"\0" in head or b"endobj" in head):
        return mime.PDF
    return None


def _zip_type(path: Path) -> str:
    with Archive(path) as archive:
        mimetype = (archive.read_optional("mimetype") or b"")[:200].decode("ascii", "replace").strip()
        for start, content_type in _MIMETYPES:
            if mimetype.startswith(start):
                return content_type
        declared = (archive.read_optional("[Content_Types].xml") or b"").lower()
        for mark, content_type in _OOXML:
            if mark in declared:
                return content_type
        for part, content_type in _PARTS:
            if part in archive:
                return content_type
    return mime.ZIP


def _ole_type(path: Path) -> str:
    names = _ole_names(path)
    if names & {"encryptedpackage", "encryptioninfo", "encryptedsummary"}:
        raise DocumentError(
            "needs_password",
            "The document is protected with a password. Remove the password and upload it again.",
        )
    for stream, content_type in _OLE_STREAMS:
        if stream in names:
            return content_type
    return mime.OLE


def _ole_names(path: Path) -> frozenset[str]:
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(str(path)) as ole:
            return frozenset(parts[0].lower() for parts in ole.listdir(streams=True, storages=True))
    except (OSError, ValueError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise DocumentError(
            "corrupt_document",
            "The file is damaged or incomplete. Open it in the program that made it, save it again and upload it.",
        ) from error


def _text_type(head: bytes, size: int, name: str) -> str:
    text = decode(head)
    if text is None:
        raise DocumentError(
            "unsupported_document",
            "The file is not a document in a known format. Upload PDF, Office, OpenDocument, EPUB, HTML, mail or text.",
        )
    if size > MAX_TEXT_BYTES:
        raise DocumentError(
            "too_large",
            f"The text file is larger than {MAX_TEXT_BYTES // 1_000_000} MB. Split it into smaller files.",
        )
    hint = _SUFFIXES.get(PurePath(name.lower()).suffix)
    return _structured(text, hint, whole=len(head) == size) or _by_hint(text, hint)


def _structured(text: str, hint: str | None, *, whole: bool) -> str | None:
    """Formats that show in the content, whatever the name says."""
    stripped = text.lstrip("\ufeff \t\r\n")
    cut = not whole
    for content_type, looks in (
        (mime.HTML, is_html(stripped)),
        (mime.XML, hint != mime.HTML and is_xml(stripped, cut=cut)),
        (mime.EML, is_mail(stripped)),
        (mime.JSON, is_json(stripped, cut=cut)),
        (mime.JSONL, is_jsonl(stripped, cut=cut)),
        (mime.CSV, hint is None and is_csv(stripped)),
    ):
        if looks:
            return content_type
    return None


def _by_hint(text: str, hint: str | None) -> str:
    if hint == mime.HTML and not _TAG.search(text):
        return mime.TEXT
    return hint or mime.TEXT
