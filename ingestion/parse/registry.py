"""Which parser reads which content type. `parse` runs in this process: sandbox.py puts it into one of its
own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ingestion.parse import mime
from ingestion.parse.detect import detect
from ingestion.parse.elements import ParsedDocument
from rag.errors import DocumentError

Parser = Callable[[Path], ParsedDocument]

# Imported when the first file of its type comes: no one pays for a format that he does not use.
_PARSERS: dict[str, str] = {
    mime.PDF: "pdf:parse_pdf",
    mime.DOCX: "docx:parse_docx",
    mime.PPTX: "pptx:parse_pptx",
    mime.XLSX: "xlsx:parse_xlsx",
    mime.HTML: "html:parse_html",
    mime.MARKDOWN: "markup:parse_markdown",
    mime.CSV: "tabular:parse_csv",
    mime.TEXT: "text:parse_text",
    mime.JSON: "data:parse_json",
    mime.JSONL: "data:parse_jsonl",
    mime.XML: "data:parse_data_xml",
    mime.EML: "email:parse_eml",
    mime.MSG: "outlook:parse_msg",
    mime.RTF: "rtf:parse_rtf",
    mime.ODT: "opendocument:parse_opendocument",
    mime.ODS: "opendocument:parse_opendocument",
    mime.ODP: "opendocument:parse_opendocument",
    mime.EPUB: "epub:parse_epub",
    **dict.fromkeys(mime.IMAGES, "ocr:parse_image"),
}
_INSTEAD: dict[str, str] = {
    mime.DOC: "Old Word files (.doc) are not read. Save it as .docx and upload that.",
    mime.PPT: "Old PowerPoint files (.ppt) are not read. Save it as .pptx and upload that.",
    mime.XLS: "Old Excel files (.xls) are not read. Save it as .xlsx and upload that.",
    mime.XLSB: "Binary Excel files (.xlsb) are not read. Save it as .xlsx and upload that.",
    mime.ZIP: "Archives are not read. Unpack it and upload the files in it.",
    mime.OLE: "This kind of Office file is not read. Save it as .docx, .xlsx, .pptx or .pdf and upload that.",
}


def supported_types() -> frozenset[str]:
    """Content types that `parse` reads."""
    return frozenset(_PARSERS)


def parse(path: Path, name: str) -> ParsedDocument:
    """Reads one file; `name` is what its owner calls it. Raises DocumentError for every way a document can
    be bad."""
    content_type = detect(path, name)
    if content_type not in _PARSERS:
        raise DocumentError("unsupported_document", _INSTEAD[content_type])
    return _parser(content_type)(path)


def _parser(content_type: str) -> Parser:
    module, _, function = _PARSERS[content_type].partition(":")
    parser: Parser = getattr(importlib.import_module(f"ingestion.parse.{module}"), function)
    return parser
