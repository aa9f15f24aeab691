"""Chunking strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ingestion.chunk import fixed_size, recursive, sentence
from ingestion.chunk.packing import Levels, pack
from ingestion.chunk.tokens import Tokens, TokenSpans
from ingestion.parse.elements import ParsedDocument
from ingestion.records import ChunkingStrategy
from rag.errors import InvalidRequest
from rag.types import Chunk

_STRATEGIES: Mapping[str, Callable[[ParsedDocument], Levels]] = {
    "recursive": recursive.levels,
    "fixed_size": fixed_size.levels,
    "sentence": sentence.levels,
}


def chunk(document: ParsedDocument, strategy: ChunkingStrategy, token_spans: TokenSpans) -> list[Chunk]:
    """The document's chunks in reading order, n = 0, 1, 2 …

    `document.text[c.start:c.end] == c.text`; no chunk has more than `strategy.chunk_size` tokens, outer white
    space or no text; together they hold every character that is not white space. At most
    `strategy.chunk_overlap` tokens stand in two neighbours. `token_spans` gives the (start, end) of each
    token in code points, in order.

    Raises InvalidRequest for a strategy that is not available and for sizes that make no sense.
    """
    levels = _STRATEGIES.get(strategy.type)
    if levels is None:
        known = ", ".join(_STRATEGIES)
        raise InvalidRequest(
            f'The chunking strategy "{strategy.type}" is not available yet: use one of {known}.',
            param="chunking_strategy.type",
        )
    _check_sizes(strategy)
    if not document.text.strip():
        return []
    return pack(document, levels(document), Tokens(document.text, token_spans), strategy)


def _check_sizes(strategy: ChunkingStrategy) -> None:
    if strategy.chunk_size < 1:
        raise InvalidRequest("`chunk_size` must be at least 1 token.", param="chunking_strategy.chunk_size")
    if not 0 <= strategy.chunk_overlap < strategy.chunk_size:
        raise InvalidRequest(
            "`chunk_overlap` must be at least 0 and smaller than `chunk_size`.",
            param="chunking_strategy.chunk_overlap",
        )
