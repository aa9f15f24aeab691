"""What a collection is: its creation request as engine configuration, the check of each vector against
it, and the description that clients read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord.errors import BadInput, OutOfRange, unsupported
from rag.vectord.indexes import Index

MAX_DIMENSION = 65_536
_MAX_FLOAT32 = 3.4028234663852886e38
_DISTANCE = {
    rest.Distance.COSINE: edge.Distance.Cosine,
    rest.Distance.DOT: edge.Distance.Dot,
    rest.Distance.EUCLID: edge.Distance.Euclid,
    rest.Distance.MANHATTAN: edge.Distance.Manhattan,
}
_DATATYPE = {
    rest.Datatype.FLOAT32: edge.VectorStorageDatatype.Float32,
    rest.Datatype.FLOAT16: edge.VectorStorageDatatype.Float16,
    rest.Datatype.UINT8: edge.VectorStorageDatatype.Uint8,
}
_MEMORY = {
    rest.Memory.COLD: edge.Memory.Cold,
    rest.Memory.CACHED: edge.Memory.Cached,
    rest.Memory.PINNED: edge.Memory.Pinned,
}
_HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
    "prevent_unoptimized",
)
_OPTIMIZER_DEFAULTS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "flush_interval_sec": 5,
}
_STRICT = {"enabled", "unindexed_filtering_retrieve", "unindexed_filtering_update", "max_query_limit"}


@dataclass(frozen=True, slots=True)
class Schema:
    """A collection's shape. `dense` maps a vector's name ("" for the unnamed one) to its parameters."""

    create: rest.CreateCollection
    dense: Mapping[str, rest.VectorParams]
    sparse: Mapping[str, rest.SparseVectorParams]

    @classmethod
    def of(cls, create: rest.CreateCollection) -> Schema:
        """Checks the request as a whole. Raises BadInput, OutOfRange or BadRequest."""
        vectors = create.vectors or {}
        dense = {"": vectors} if isinstance(vectors, rest.VectorParams) else dict(vectors)
        sparse = dict(create.sparse_vectors or {})
        if not dense and not sparse:
            raise BadInput("a collection needs at least one of `vectors` and `sparse_vectors`")
        if both := dense.keys() & sparse.keys():
            raise BadInput(f"`{min(both)}` is the name of a dense and of a sparse vector: rename one")
        for name, params in dense.items():
            if not 1 <= params.size <= MAX_DIMENSION:
                raise OutOfRange(f"[vectors.{name}.size: value {params.size} invalid, must be from 1 to 65536]")
        _refuse_cluster_options(create)
        check_strict_mode(create.strict_mode_config)
        return cls(create, dense, sparse)

    @property
    def strict(self) -> rest.StrictModeConfig:
        config = self.create.strict_mode_config
        return config if config is not None and config.enabled else rest.StrictModeConfig()

    def edge_config(self) -> Any:
        """The engine's configuration for a new shard."""
        create = self.create
        return edge.EdgeConfig(
            vectors={name: _dense(params, f"vectors.{name}") for name, params in self.dense.items()} or None,
            sparse_vectors={name: _sparse(params) for name, params in self.sparse.items()} or None,
            on_disk_payload=create.on_disk_payload,
            hnsw_config=_hnsw(create.hnsw_config),
            quantization_config=_quantization(create.quantization_config, "quantization_config"),
            optimizers=_optimizers(create.optimizers_config),
            payload_memory=_memory(create.payload.memory if create.payload else None),
            id_tracker_memory=_memory(create.id_tracker.memory if create.id_tracker else None),
        )

    def dense_query(self, name: str, values: Sequence[float] | Sequence[Sequence[float]]) -> Any:
        """A dense (or multi-dense) vector after its checks. Raises BadInput."""
        params = self.dense.get(name)
        if params is None:
            raise self._unknown(name, "sparse")
        if params.multivector_config is None:
            return _check_row(values, params.size)
        rows = values if values and isinstance(values[0], list) else [values]
        return [_check_row(row, params.size) for row in rows]

    def sparse_query(self, name: str, vector: rest.SparseVector) -> Any:
        """A sparse vector after its checks: the engine panics on lists of unequal length."""
        if name not in self.sparse:
            raise self._unknown(name, "dense")
        return sparse_vector(vector)

    def _unknown(self, name: str, other: str) -> BadInput:
        if name in self.dense or name in self.sparse:
            return BadInput(f"vector `{name}` is {other}: send it in that form")
        return BadInput(f"Not existing vector name error: {name}")

    def vector(self, source: Any) -> Any:
        """A point's vectors, named or not, for the engine."""
        if isinstance(source, dict):
            return {name: self._named(name, value) for name, value in source.items()}
        return {"": self._named("", source)}

    def _named(self, name: str, value: Any) -> Any:
        if isinstance(value, rest.SparseVector):
            return self.sparse_query(name, value)
        if isinstance(value, list):
            return self.dense_query(name, value)
        raise unsupported(f"vector: {type(value).__name__}", "texts are not encoded here, send the vector itself")

    def describe(self) -> dict[str, Any]:
        """The `config` of the collection's description."""
        given = self.create.model_dump(mode="json", exclude_none=True)
        params = {
            name: given[name]
            for name in ("vectors", "sparse_vectors", "payload", "id_tracker", "on_disk_payload")
            if name in given
        }
        single = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1}
        config: dict[str, Any] = {
            "params": {"on_disk_payload": True, **params, **single},
            "hnsw_config": {**_HNSW, "max_indexing_threads": 0, **given.get("hnsw_config", {})},
            "optimizer_config": {**_OPTIMIZER_DEFAULTS, **given.get("optimizers_config", {})},
        }
        for name in ("quantization_config", "strict_mode_config", "metadata"):
            if name in given:
                config[name] = given[name]
        return config


def _check_row(values: Any, size: int) -> list[float]:
    if values and isinstance(values[0], list):
        raise BadInput("a single vector is expected here, not a list of vectors")
    if len(values) != size:
        raise BadInput(f"Vector dimension error: expected dim: {size}, got {len(values)}")
    _check_finite(values)
    return list(values)


def _check_finite(values: Sequence[float]) -> None:
    # One sum finds NaN and infinity; a number too large for float32 would become one in the engine.
    if not math.isfinite(sum(values)):
        raise BadInput("a vector has a number that is not finite")
    if values and not -_MAX_FLOAT32 <= min(values) <= max(values) <= _MAX_FLOAT32:
        raise BadInput("a vector has a number that does not fit into 32 bits")


def sparse_vector(vector: rest.SparseVector) -> Any:
    indices, values = vector.indices, vector.values
    if len(indices) != len(values):
        raise OutOfRange(f"[values: must be as many as indices: {len(indices)} != {len(values)}]")
    if len(set(indices)) != len(indices):
        raise OutOfRange("[indices: must be unique]")
    if indices and not 0 <= min(indices) <= max(indices) < 2**32:
        raise OutOfRange("[indices: must be from 0 to 4294967295]")
    _check_finite(values)
    return edge.SparseVector(indices=indices, values=values)


def _refuse_cluster_options(create: rest.CreateCollection) -> None:
    for name in ("shard_number", "replication_factor", "write_consistency_factor"):
        if getattr(create, name) not in (None, 1):
            raise unsupported(name, "one process keeps one copy; set QDRANT_URL to a Qdrant cluster")
    if create.sharding_method not in (None, rest.ShardingMethod.AUTO):
        raise unsupported("sharding_method")
    if create.wal_config is not None:
        raise unsupported("wal_config")


def check_strict_mode(config: rest.StrictModeConfig | None) -> None:
    """Refuses the strict-mode settings that would not be enforced here."""
    for name in config.model_dump(exclude_none=True) if config else ():
        if name not in _STRICT:
            raise unsupported(f"strict_mode_config.{name}")


def _memory(memory: rest.Memory | None) -> Any:
    return None if memory is None else _MEMORY[memory]


def _datatype(datatype: rest.Datatype | None, field: str) -> Any:
    if datatype is None:
        return None
    if datatype not in _DATATYPE:
        raise unsupported(f"{field}: {datatype.value}")
    return _DATATYPE[datatype]


def _dense(params: rest.VectorParams, field: str) -> Any:
    multi = params.multivector_config
    return edge.EdgeVectorParams(
        size=params.size,
        distance=_DISTANCE[params.distance],
        on_disk=params.on_disk,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if multi else None,
        datatype=_datatype(params.datatype, f"{field}.datatype"),
        quantization_config=_quantization(params.quantization_config, f"{field}.quantization_config"),
        hnsw_config=_hnsw(params.hnsw_config),
        memory=_memory(params.memory),
    )


def _sparse(params: rest.SparseVectorParams) -> Any:
    index = params.index or rest.SparseIndexParams()
    return edge.EdgeSparseVectorParams(
        full_scan_threshold=index.full_scan_threshold,
        on_disk=index.on_disk,
        modifier=edge.Modifier.Idf if params.modifier == rest.Modifier.IDF else None,
        datatype=_datatype(index.datatype, "sparse_vectors.index.datatype"),
        memory=_memory(index.memory),
    )


def _hnsw(config: rest.HnswConfigDiff | None) -> Any:
    if config is None:
        return None
    given = config.model_dump(exclude_none=True)
    for name, value in given.items():
        if isinstance(value, int) and not 0 <= value < 2**32:
            raise OutOfRange(f"[hnsw_config.{name}: must be from 0 to 4294967295]")
    if "memory" in given:
        given["memory"] = _memory(given["memory"])
    return edge.HnswIndexConfig(**{**_HNSW, **given})


def _optimizers(config: rest.OptimizersConfigDiff | None) -> Any:
    if config is None:
        return None
    given = config.model_dump(exclude_none=True)
    for name, value in given.items():
        if name not in _OPTIMIZERS:
            raise unsupported(f"optimizers_config.{name}")
        if not 0 <= value < 2**53:
            raise OutOfRange(f"[optimizers_config.{name}: must be 0 or larger]")
    return edge.EdgeOptimizersConfig(**given)


def _quantization(config: rest.QuantizationConfig | None, field: str) -> Any:
    if config is None:
        return None
    if isinstance(config, rest.ScalarQuantization):
        scalar = config.scalar
        return edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, scalar.quantile, scalar.always_ram, _memory(scalar.memory)
        )
    if isinstance(config, rest.BinaryQuantization):
        binary = config.binary
        if binary.encoding is None and binary.query_encoding is None:
            return edge.BinaryQuantizationConfig(binary.always_ram, memory=_memory(binary.memory))
    raise unsupported(field, "use `scalar` or plain `binary`")


def describe_indexes(indexes: Mapping[str, Index]) -> dict[str, Any]:
    return {key: index.as_json() for key, index in indexes.items()}
