"""Retrieval-augmented generation as a library: usable from a notebook with no server."""
