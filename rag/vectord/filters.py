"""Filters: REST conditions → engine conditions, refusing what strict mode refuses.

Strict mode (`unindexed_filtering_retrieve: false`, `unindexed_filtering_update: false`) turns a filter on
a key without a fitting payload index into an error that names the key and the types that would do. The
rules of which index serves which condition are Qdrant's.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord.errors import BadInput, BadRequest, OutOfRange, unsupported
from rag.vectord.indexes import Index

_U64 = 2**64
_ANY_INDEX = ("bool", "datetime", "float", "geo", "integer", "integer range", "keyword", "text", "uuid")
_TESTS = ("match", "range", "values_count", "is_empty", "is_null")
_GEO = ("geo_bounding_box", "geo_radius", "geo_polygon")


@dataclass(slots=True)
class FilterRules:
    """What a filter is checked against: the collection's indexes, whether a key without one is refused,
    and how many conditions one request may have left."""

    indexes: Mapping[str, Index] = field(default_factory=dict)
    require_index: bool = False
    conditions_left: int = 10_000

    def spend(self, count: int) -> None:
        self.conditions_left -= count
        if self.conditions_left < 0:
            raise BadRequest("the request has too many filter conditions: split it into several")


def point_id(raw: int | str | uuid.UUID) -> int | uuid.UUID:
    """A point id as the engine takes it. Raises BadInput."""
    if isinstance(raw, uuid.UUID):
        return raw
    try:
        found: int | uuid.UUID = raw if isinstance(raw, int) else uuid.UUID(raw)
    except ValueError:
        found = -1
    if isinstance(found, int) and not 0 <= found < _U64:
        raise BadInput(f"value {raw} is not a valid point ID, valid values are either an unsigned integer or a UUID")
    return found


def to_edge(source: rest.Filter | None, rules: FilterRules, prefix: str = "") -> Any:
    """The engine's filter, None for None. `prefix` is the array that a nested filter looks into."""
    if source is None:
        return None
    return edge.Filter(
        must=_clause(source.must, rules, prefix),
        should=_clause(source.should, rules, prefix),
        must_not=_clause(source.must_not, rules, prefix),
        min_should=_min_should(source.min_should, rules, prefix),
    )


def _clause(clause: rest.Condition | list[rest.Condition] | None, rules: FilterRules, prefix: str) -> list[Any] | None:
    if clause is None:
        return None
    conditions = clause if isinstance(clause, list) else [clause]
    rules.spend(len(conditions))
    return [_condition(condition, rules, prefix) for condition in conditions]


def _min_should(source: rest.MinShould | None, rules: FilterRules, prefix: str) -> Any:
    if source is None:
        return None
    if source.min_count < 1:
        raise OutOfRange("[min_should.min_count: must be 1 or larger]")
    return edge.MinShould(conditions=_clause(source.conditions, rules, prefix) or [], min_count=source.min_count)


def _condition(condition: rest.Condition, rules: FilterRules, prefix: str) -> Any:
    convert = _CONDITIONS.get(type(condition))
    if convert is None:
        raise unsupported(f"filter condition {type(condition).__name__}")
    return convert(condition, rules, prefix)


def _has_id(condition: rest.HasIdCondition, rules: FilterRules, prefix: str) -> Any:
    return edge.HasIdCondition({point_id(raw) for raw in condition.has_id})


def _has_vector(condition: rest.HasVectorCondition, rules: FilterRules, prefix: str) -> Any:
    return edge.HasVectorCondition(condition.has_vector)


def _is_empty(condition: rest.IsEmptyCondition, rules: FilterRules, prefix: str) -> Any:
    _require(condition.is_empty.key, _ANY_INDEX, rules, prefix)
    return edge.IsEmptyCondition(condition.is_empty.key)


def _is_null(condition: rest.IsNullCondition, rules: FilterRules, prefix: str) -> Any:
    _require(condition.is_null.key, _ANY_INDEX, rules, prefix)
    return edge.IsNullCondition(condition.is_null.key)


def _nested(condition: rest.NestedCondition, rules: FilterRules, prefix: str) -> Any:
    nested = condition.nested
    array = nested.key if nested.key.endswith("[]") else f"{nested.key}[]"
    return edge.NestedCondition(nested.key, to_edge(nested.filter, rules, _path(prefix, array)))


def _path(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def _field(condition: rest.FieldCondition, rules: FilterRules, prefix: str) -> Any:
    for name in _GEO:
        if getattr(condition, name) is not None:
            raise unsupported(f"filter condition {name}")
    given = [name for name in _TESTS if getattr(condition, name) is not None]
    # The engine takes several tests in one condition as alternatives, other implementations take the
    # first: nobody who writes two of them means either.
    if len(given) != 1:
        raise BadInput(
            f"the condition on `{condition.key}` must hold exactly one of {', '.join(_TESTS)}: "
            "write one condition for each"
        )
    _require(condition.key, needs(condition), rules, prefix)
    return edge.FieldCondition(
        key=condition.key,
        match=_match(condition.match),
        range=_range(condition.range),
        values_count=_values_count(condition.values_count),
        is_empty=condition.is_empty,
        is_null=condition.is_null,
    )


def _match(match: rest.Match | None) -> Any:
    if match is None:
        return None
    convert = _MATCHES.get(type(match))
    if convert is None:
        raise unsupported(f"match.{type(match).__name__.removeprefix('Match').lower()}")
    return convert(match)


def _value(value: str | int | bool) -> Any:
    # The binding takes Python's bool, a kind of int, for the integer 1 or 0, which matches nothing that is
    # stored as a boolean. numpy's bool is no int, and arrives as what it is.
    return np.bool_(value) if isinstance(value, bool) else _int64(value)


def _int64(value: str | int | bool) -> str | int | bool:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadInput(f"{value} does not fit into a 64-bit integer")
    return value


def _int64s(values: Any) -> Any:
    return [_int64(value) for value in values]


def _range(source: rest.Range | rest.DatetimeRange | None) -> Any:
    if source is None:
        return None
    bounds = {name: getattr(source, name) for name in ("gte", "gt", "lte", "lt")}
    if isinstance(source, rest.Range):
        return edge.RangeFloat(**bounds)
    return edge.RangeDateTime(**{name: utc_text(value) for name, value in bounds.items()})


def utc_text(value: dt.datetime | dt.date | None) -> str | None:
    """RFC 3339 text; a time without a zone is UTC, a date alone is its midnight, as in Qdrant."""
    if value is None:
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).isoformat()


def _values_count(source: rest.ValuesCount | None) -> Any:
    if source is None:
        return None
    bounds = {name: getattr(source, name) for name in ("lt", "gt", "lte", "gte")}
    for name, value in bounds.items():
        if value is not None and not 0 <= value < _U64:
            raise OutOfRange(f"[values_count.{name}: must be 0 or larger]")
    return edge.ValuesCount(**bounds)


def needs(condition: rest.FieldCondition) -> tuple[str, ...]:
    """The kinds of index of which one must be there; empty when the condition decides nothing."""
    if condition.range is not None:
        return ("datetime",) if isinstance(condition.range, rest.DatetimeRange) else ("float", "integer range")
    match = condition.match
    if match is None:
        return _ANY_INDEX
    if isinstance(match, rest.MatchValue):
        return _needs_values([match.value])
    if isinstance(match, (rest.MatchAny, rest.MatchExcept)):
        return _needs_values(match.any if isinstance(match, rest.MatchAny) else match.except_)
    return _TEXT_NEEDS.get(type(match), ("text",))


def _needs_values(values: Sequence[str | int | bool]) -> tuple[str, ...]:
    if not values:
        return ()
    if isinstance(values[0], bool):
        return ("bool",)
    if isinstance(values[0], int):
        return ("integer",)
    return ("keyword", "uuid") if all(_is_uuid(value) for value in values) else ("keyword",)


def _is_uuid(value: object) -> bool:
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return True


def _require(key: str, kinds: tuple[str, ...], rules: FilterRules, prefix: str) -> None:
    if not rules.require_index or not kinds:
        return
    full_key = _path(prefix, key)
    index = rules.indexes.get(full_key)
    if index is not None and index.serves().intersection(kinds):
        return
    types = ", ".join(sorted({kind.split()[0] for kind in kinds}))
    raise BadRequest(
        f'Index required but not found for "{full_key}" of one of the following types: [{types}]. '
        "Help: Create an index for this key or use a different filter."
    )


_CONDITIONS: dict[type, Callable[[Any, FilterRules, str], Any]] = {
    rest.Filter: to_edge,
    rest.FieldCondition: _field,
    rest.HasIdCondition: _has_id,
    rest.HasVectorCondition: _has_vector,
    rest.IsEmptyCondition: _is_empty,
    rest.IsNullCondition: _is_null,
    rest.NestedCondition: _nested,
}
_MATCHES: dict[type, Callable[[Any], Any]] = {
    rest.MatchValue: lambda match: edge.MatchValue(_value(match.value)),
    rest.MatchAny: lambda match: edge.MatchAny(_int64s(match.any)),
    rest.MatchExcept: lambda match: edge.MatchExcept(_int64s(match.except_)),
    rest.MatchText: lambda match: edge.MatchText(match.text),
    rest.MatchTextAny: lambda match: edge.MatchTextAny(match.text_any),
    rest.MatchPhrase: lambda match: edge.MatchPhrase(match.phrase),
    rest.MatchPrefix: lambda match: edge.MatchPrefix(match.prefix),
}
_TEXT_NEEDS: dict[type, tuple[str, ...]] = {
    rest.MatchPhrase: ("text phrase",),
    rest.MatchPrefix: ("keyword prefix",),
}
