"""Payload indexes: REST schema → engine parameters, and back from what a shard reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord.errors import BadInput, unsupported

_EDGE_PARAMS: dict[str, Any] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "bool": edge.BoolIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
    "text": edge.TextIndexParams,
}
_FIELDS: dict[str, tuple[str, ...]] = {
    "keyword": ("is_tenant", "on_disk", "enable_hnsw", "prefix", "nested"),
    "integer": ("lookup", "range", "is_principal", "on_disk", "enable_hnsw", "nested"),
    "float": ("is_principal", "on_disk", "enable_hnsw", "nested"),
    "bool": ("on_disk", "enable_hnsw", "nested"),
    "datetime": ("is_principal", "on_disk", "enable_hnsw", "nested"),
    "uuid": ("is_tenant", "on_disk", "enable_hnsw", "nested"),
    "text": (
        "min_token_len",
        "max_token_len",
        "lowercase",
        "ascii_folding",
        "phrase_matching",
        "on_disk",
        "enable_hnsw",
        "nested",
    ),
}


@dataclass(frozen=True, slots=True)
class Index:
    """One payload index: its type, the parameters that were given, and the points that it holds."""

    kind: str
    params: Mapping[str, Any]
    points: int = 0

    def serves(self) -> frozenset[str]:
        """The kinds of condition that this index answers, in the words of `filters.needs`."""
        if self.kind == "keyword":
            return frozenset({"keyword", "keyword prefix"} if self.params.get("prefix") else {"keyword"})
        if self.kind == "integer":
            wanted = {"integer": "lookup", "integer range": "range"}
            return frozenset(kind for kind, flag in wanted.items() if self.params.get(flag) is not False)
        if self.kind == "text":
            return frozenset({"text", "text phrase"} if self.params.get("phrase_matching") else {"text"})
        return frozenset({self.kind})

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"data_type": self.kind, "points": self.points}
        if self.params:
            found["params"] = {"type": self.kind, **self.params}
        return found


def to_edge(schema: rest.PayloadFieldSchema | None) -> Any:
    """The engine's parameters for an index. Raises BadInput/BadRequest for what it does not have."""
    if schema is None:
        raise BadInput("`field_schema` is missing: name the type of the index, such as `keyword`")
    if isinstance(schema, rest.PayloadSchemaType):
        kind, given = schema.value, {}
    else:
        kind = schema.type.value
        given = schema.model_dump(exclude_none=True, exclude={"type"})
    if kind not in _EDGE_PARAMS:
        raise unsupported(f"field_schema: {kind}")
    if kind == "text" and "tokenizer" in given:
        given["tokenizer"] = _tokenizer(given["tokenizer"])
    for name in given:
        if name not in (*_FIELDS[kind], "tokenizer"):
            raise unsupported(f"field_schema.{name}")
    if kind == "integer" and given.get("lookup") is False and given.get("range") is False:
        raise BadInput("an integer index with neither `lookup` nor `range` would answer nothing")
    return _EDGE_PARAMS[kind](**given)


def _tokenizer(value: rest.TokenizerType) -> Any:
    return getattr(edge.TokenizerType, value.value.capitalize())


def read_schema(info: Any) -> dict[str, Index]:
    """The payload indexes of a shard, from its `ShardInfo`."""
    return {key: _from_edge(found) for key, found in info.payload_schema.items()}


def enum_name(value: Any) -> str:
    """`PayloadSchemaType.Keyword` → `keyword`: the engine's enums carry their name only in their text."""
    return str(value).rsplit(".", 1)[-1].lower()


def _from_edge(found: Any) -> Index:
    kind = enum_name(found.data_type)
    params = {
        name: value
        for name in _FIELDS.get(kind, ())
        if found.params is not None and (value := getattr(found.params, name)) is not None
    }
    if kind == "text" and found.params is not None:
        params["tokenizer"] = enum_name(found.params.tokenizer)
    return Index(kind, params, found.points)
