from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from rag.errors import InvalidRequest
from rag.filters import PAYLOAD_INDEXES, conditions, metadata_payload

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=300)
METADATA = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)),
    max_size=4,
)


def keys(condition: Any, prefix: str = "") -> set[str]:
    if isinstance(condition, models.NestedCondition):
        inner = condition.nested
        return {key for part in inner.filter.must for key in keys(part, f"{inner.key}[].")}
    if isinstance(condition, models.Filter):
        return {key for part in (condition.must or []) + (condition.must_not or []) for key in keys(part, prefix)}
    return {prefix + condition.key}


@given(METADATA)
def test_metadata_stands_under_its_own_keys_and_can_shadow_nothing(metadata: dict[str, Any]) -> None:
    payload = metadata_payload(metadata)
    assert set(payload) == {"meta", "meta_eq", "meta_num"}
    assert payload["meta"] == metadata
    assert len(payload["meta_eq"]) == len(set(payload["meta_eq"]))


def test_every_filter_names_only_indexed_keys() -> None:
    found = conditions(
        {
            "document_name": ["a", "b"],
            "document_id": "doc_1",
            "source_type": "file_upload",
            "metadata": {
                "a": 1,
                "b": ["x", "y"],
                "c": {"$gte": 1, "$lt": "2024-01-01"},
                "d": {"$ne": True},
                "e.f": {"$in": [1, 2]},
            },
        }
    )
    named = {key for condition in found for key in keys(condition)}
    assert named <= set(PAYLOAD_INDEXES)
    assert {"meta_eq", "meta_num[].k", "meta_num[].v"} <= named


def test_equal_values_have_equal_tokens_and_different_ones_do_not() -> None:
    def tokens(value: Any) -> list[str]:
        return list(metadata_payload({"f": value})["meta_eq"])

    assert tokens(1) == tokens(1.0)
    assert tokens(1) != tokens("1")
    assert tokens(True) != tokens(1)
    assert tokens("x" * 500) != tokens("x" * 499 + "y")
    assert tokens(["a", "b"]) == sorted([*tokens("a"), *tokens("b")])


def test_dates_are_numbers_too() -> None:
    numbers = metadata_payload({"d": "2024-02-29", "t": "2024-02-29T12:00:00+01:00", "no": "29 Feb"})["meta_num"]
    assert [pair["k"] for pair in numbers] == ["d", "t"]
    assert numbers[1]["v"] - numbers[0]["v"] == 11 * 3600


@pytest.mark.parametrize(
    ("filters", "param"),
    [
        ({"colour": "red"}, "filters.colour"),
        ({"metadata": "red"}, "filters.metadata"),
        ({"metadata": {"a": {"$regex": "x"}}}, "filters.metadata.a"),
        ({"metadata": {"a": {"$gt": "tall"}}}, "filters.metadata.a"),
        ({"metadata": {"a": {"$gt": True}}}, "filters.metadata.a"),
        ({"metadata": {"a": {"$in": 3}}}, "filters.metadata.a"),
        ({"metadata": {"a": {"$eq": {"b": 1}}}}, "filters.metadata.a"),
        ({"document_id": 3}, "filters.document_id"),
        ({"document_name": [["a"]]}, "filters.document_name"),
    ],
)
def test_what_cannot_be_filtered_is_refused_by_name(filters: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conditions(filters)
    assert caught.value.param == param


def test_no_filter_is_no_condition() -> None:
    assert conditions({}) == []
    assert conditions({"document_id": None}) == []
