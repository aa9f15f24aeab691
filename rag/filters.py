"""User metadata and filters, mapped onto a fixed set of indexed payload keys.

Metadata fields are the users' own, so no index can be made per field. Each scalar becomes a `field=value`
token in `meta_eq` (equality, $in, $ne) and, if it is a number or an ISO date, a pair in `meta_num` (ranges).
Nested objects are addressed with dots; a list matches when one of its elements does. The raw object is kept
under `meta`, where it can never shadow a system key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from qdrant_client import models

from rag.errors import InvalidRequest

PAYLOAD_INDEXES: dict[str, models.PayloadSchemaType | models.KeywordIndexParams] = {
    "tenant_id": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "kb_id": models.PayloadSchemaType.KEYWORD,
    "document_id": models.PayloadSchemaType.KEYWORD,
    "data_source_id": models.PayloadSchemaType.KEYWORD,
    "source": models.PayloadSchemaType.KEYWORD,
    "source_type": models.PayloadSchemaType.KEYWORD,
    "version": models.PayloadSchemaType.INTEGER,
    "n": models.PayloadSchemaType.INTEGER,
    "meta_eq": models.PayloadSchemaType.KEYWORD,
    "meta_num[].k": models.PayloadSchemaType.KEYWORD,
    "meta_num[].v": models.PayloadSchemaType.FLOAT,
}
"""Every payload key that a filter may name, with its index."""

_SYSTEM_FIELDS = {"document_name": "source", "document_id": "document_id", "source_type": "source_type"}
_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
OPERATORS = ("$eq", "$ne", "$in", *_RANGES)
_LONG = 200


def _scalars(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _scalars(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _scalars(inner, path)
    else:
        yield path, value


def _token(field: str, value: Any) -> str:
    """One keyword per field and value; 1 and 1.0 are the same number, long values are hashed."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    written = orjson.dumps(float(value) if number else value).decode()
    if len(written) > _LONG:
        written = "sha256:" + hashlib.sha256(written.encode()).hexdigest()
    return f"{field}={written}"


def _number(value: Any) -> float | None:
    """A number, or the Unix time of an ISO date (UTC unless it says otherwise); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def metadata_payload(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The payload keys that carry a document's metadata."""
    pairs = list(_scalars(metadata))
    numbers = [{"k": path, "v": number} for path, value in pairs if (number := _number(value)) is not None]
    return {
        "meta": dict(metadata),
        "meta_eq": sorted({_token(path, value) for path, value in pairs}),
        "meta_num": numbers,
    }


def _refuse(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param)


def _equals(key: str, values: list[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=values))


def _listed(value: Any, param: str) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, (Mapping, list)) for item in values):
        raise _refuse(f"{param} takes a value or a list of values", param)
    return values


def _strings(value: Any, param: str) -> list[str]:
    values = _listed(value, param)
    if not all(isinstance(item, str) for item in values):
        raise _refuse(f"{param} takes a string or a list of strings", param)
    return values


def _range(field: str, bounds: Mapping[str, Any], param: str) -> models.Condition:
    limits: dict[str, float] = {}
    for operator, value in bounds.items():
        number = _number(value)
        if number is None:
            raise _refuse(f"{param}.{operator} takes a number or an ISO 8601 date, not {value!r}", param)
        limits[_RANGES[operator]] = number
    inner = models.Filter(
        must=[
            models.FieldCondition(key="k", match=models.MatchValue(value=field)),
            models.FieldCondition(key="v", range=models.Range(**limits)),
        ]
    )
    return models.NestedCondition(nested=models.Nested(key="meta_num", filter=inner))


def _metadata_conditions(field: str, wanted: Any) -> Iterator[models.Condition]:
    param = f"filters.metadata.{field}"
    operators = wanted if isinstance(wanted, Mapping) else {"$in" if isinstance(wanted, list) else "$eq": wanted}
    for operator in operators:
        if operator not in OPERATORS:
            known = ", ".join(OPERATORS)
            raise _refuse(f"unknown operator {operator!r} in {param}; known are {known}", param)
    for operator, value in operators.items():
        if operator in ("$eq", "$in"):
            if operator == "$in" and not isinstance(value, list):
                raise _refuse(f"{param}.$in takes a list", param)
            yield _equals("meta_eq", [_token(field, item) for item in _listed(value, param)])
        elif operator == "$ne":
            tokens = [_token(field, item) for item in _listed(value, param)]
            yield models.Filter(must_not=[_equals("meta_eq", tokens)])
    bounds = {operator: value for operator, value in operators.items() if operator in _RANGES}
    if bounds:
        yield _range(field, bounds, param)


def conditions(filters: Mapping[str, Any]) -> list[models.Condition]:
    """API.md's filter object as Qdrant conditions that must all hold.

    Raises InvalidRequest, naming the field, for an unknown field or operator or a value of the wrong type.
    """
    found: list[models.Condition] = []
    for field, wanted in filters.items():
        if wanted is None:
            continue
        if field in _SYSTEM_FIELDS:
            found.append(_equals(_SYSTEM_FIELDS[field], _strings(wanted, f"filters.{field}")))
        elif field == "metadata" and isinstance(wanted, Mapping):
            for name, value in wanted.items():
                found.extend(_metadata_conditions(name, value))
        else:
            known = ", ".join([*_SYSTEM_FIELDS, "metadata (an object)"])
            raise _refuse(f"unknown filter {field!r}; known are {known}", f"filters.{field}")
    return found
