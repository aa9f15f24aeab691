"""What all wire models share: strictness, lists, errors, metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")
METADATA_BYTES = 16 * 1024
METADATA_DEPTH = 8


class Body(BaseModel):
    """A JSON request body. Types are not converted, unknown fields are refused: no typo passes."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Object(BaseModel):
    """A response object."""

    model_config = ConfigDict(frozen=True)


class ErrorDetail(Object):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Object):
    """Every failure looks like this."""

    error: ErrorDetail


class ListObject(Object, Generic[T]):
    """One page. Ask for the next one with `after=last_id` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def listed(data: Sequence[T], ids: Sequence[str], has_more: bool) -> ListObject[T]:
    """`ids` are those of `data`, in the same order."""
    return ListObject(
        data=list(data),
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=has_more,
    )


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


Line = Annotated[str, AfterValidator(_without_nul)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"\S"), AfterValidator(_without_nul)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_without_nul)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S"), AfterValidator(_without_nul)]


def _leaves(value: Any, depth: int = 0) -> Iterator[str]:
    """Every key and string inside. Raises ValueError where it nests too deep."""
    if depth > METADATA_DEPTH:
        raise ValueError(f"nests deeper than {METADATA_DEPTH} levels")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, depth + 1)


def _small_metadata(value: dict[str, Any]) -> dict[str, Any]:
    for text in _leaves(value):
        _without_nul(text)
    if "" in value:
        raise ValueError("has an empty key")
    size = len(orjson.dumps(value))
    if size > METADATA_BYTES:
        raise ValueError(f"is {size} bytes of JSON; at most {METADATA_BYTES} are kept")
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_small_metadata), Field(json_schema_extra={"default": {}})]


class Deleted(Object):
    """Answer to a DELETE."""

    id: str
    object: str
    deleted: Literal[True] = True
