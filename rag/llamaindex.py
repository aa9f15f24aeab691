"""The pipeline's search and reranker as LlamaIndex parts, for notebooks.

pip install 'tensoras-server[llamaindex]'
"""

from __future__ import annotations

import asyncio
from typing import Any

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    from rag.errors import MissingExtra

    raise MissingExtra("LlamaIndex is not installed: pip install 'tensoras-server[llamaindex]'") from error

from rag.pipeline import Pipeline
from rag.ports import Reranker
from rag.types import Passage, RagOptions, Scope


def to_node(passage: Passage) -> NodeWithScore:
    """A passage as a node; its place in the document travels in the metadata."""
    metadata = {
        **passage.metadata,
        "source": passage.source,
        "document_id": passage.document_id,
        "knowledge_base_id": passage.knowledge_base_id,
        "page": passage.page,
    }
    node = TextNode(
        id_=passage.chunk_id,
        text=passage.text,
        start_char_idx=passage.start,
        end_char_idx=passage.end,
        metadata=metadata,
    )
    return NodeWithScore(node=node, score=passage.score)


class PipelineRetriever(BaseRetriever):  # type: ignore[misc]
    """Retrieves through Pipeline.retrieve, reranking included."""

    def __init__(self, pipeline: Pipeline, scope: Scope, options: RagOptions | None = None) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._scope = scope
        self._options = options or RagOptions()

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await self._pipeline.retrieve(query_bundle.query_str, self._scope, self._options)
        return [to_node(passage) for passage in found.passages]

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """For scripts without an event loop; inside one, use `aretrieve`."""
        return asyncio.run(self._aretrieve(query_bundle))


class RerankerPostprocessor(BaseNodePostprocessor):  # type: ignore[misc]
    """Scores nodes with the pipeline's reranker and keeps the `top_n` best."""

    top_n: int = 5
    _reranker: Any = PrivateAttr()

    def __init__(self, reranker: Reranker, top_n: int = 5) -> None:
        super().__init__(top_n=top_n)
        self._reranker = reranker

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None or not nodes:
            return nodes
        scores = await self._reranker.score(query_bundle.query_str, [node.get_content() for node in nodes])
        scored = [NodeWithScore(node=n.node, score=s) for n, s in zip(nodes, scores, strict=True)]
        return sorted(scored, key=lambda node: -(node.score or 0.0))[: self.top_n]

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return asyncio.run(self._apostprocess_nodes(nodes, query_bundle))
