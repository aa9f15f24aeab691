"""vectord: the embedded vector store, one process that owns the files and speaks Qdrant's REST API.

`python -m rag.vectord --data DIR --port N` serves `qdrant-edge-py` shards so that an unmodified
`qdrant_client` works against them. What follows a request: `app` (routes) → `wire` (body, errors) →
`convert`, `filters` (REST models → engine objects) → `shards` (one collection, its threads) → the engine.
`registry` keeps what must survive a restart, `optimize` rebuilds an index beside the live one, `service`
holds it all together.

Nothing is imported here, so that `--help` and the rebuild child start at once.
"""
