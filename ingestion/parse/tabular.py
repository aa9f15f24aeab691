"""CSV and TSV with any delimiter, as one Markdown table."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from ingestion.parse.canonical import Canonical
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import CSV
from ingestion.parse.sniff import delimiter
from ingestion.parse.tables import markdown_table
from ingestion.parse.text import read_text, write_text

_MAX_FIELD = 10_000_000
# Excel's own way of naming the delimiter.
_NAMED = re.compile(r"sep=(.)\n", re.I)


def parse_csv(path: Path) -> ParsedDocument:
    """One document from delimited text. Rows may be ragged; what is no table after all is read as text."""
    text = read_text(path).replace("\0", "").lstrip("\ufeff")
    named = _NAMED.match(text)
    if named:
        text = text[named.end() :]
    mark = named[1] if named else delimiter(text) or ","
    out = Canonical()
    csv.field_size_limit(_MAX_FIELD)
    try:
        table = markdown_table(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except csv.Error:
        write_text(text, out)
    else:
        out.block("table", table)
    return out.build(CSV)
