"""Documents → chunks: exact spans of the canonical text, sized in the embedding model's own tokens. Pure."""

from ingestion.chunk.registry import chunk

__all__ = ["chunk"]
