"""The default: cut where the document itself does, at the coarsest boundary that leaves a chunk well filled.

Sections and blocks are tried first, but only where the chunk is then at least part full; then sentences,
lines and table rows, then words.
"""

from __future__ import annotations

from ingestion.chunk.boundaries import block_starts, section_starts, sentence_starts
from ingestion.chunk.packing import Level, Levels
from ingestion.parse.elements import ParsedDocument

_SECTION_FILL = 0.4
_BLOCK_FILL = 0.5
_SENTENCE_FILL = 0.25


def levels(document: ParsedDocument) -> Levels:
    return Levels(
        (
            Level(section_starts(document), _SECTION_FILL, overlaps=False),
            Level(block_starts(document), _BLOCK_FILL),
            Level(sentence_starts(document), _SENTENCE_FILL),
        )
    )
