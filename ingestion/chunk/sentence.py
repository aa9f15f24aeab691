"""As many whole sentences (lines, table rows) as fit; the overlap is whole sentences too."""

from __future__ import annotations

from ingestion.chunk.boundaries import sentence_starts
from ingestion.chunk.packing import Level, Levels
from ingestion.parse.elements import ParsedDocument


def levels(document: ParsedDocument) -> Levels:
    return Levels((Level(sentence_starts(document), 0.0),), word_overlap=False)
