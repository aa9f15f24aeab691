import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.canonical import Canonical
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.wire import decode_result, encode_document, encode_error
from rag.errors import DocumentError
from tests.ingestion.parse.builders import refusal


def sample() -> ParsedDocument:
    out = Canonical()
    out.page(1, "text")
    out.heading(1, "Überschrift")
    out.block("paragraph", "Worte 漢字 😀")
    out.page(2, "blank")
    return out.build("application/pdf", "Titel")


def test_round_trip() -> None:
    assert decode_result(encode_document(sample())) == sample()


def test_errors_come_back_as_they_went() -> None:
    with pytest.raises(DocumentError) as back:
        decode_result(encode_error(DocumentError("needs_ocr", "Run OCR.")))
    assert (back.value.code, back.value.message) == ("needs_ocr", "Run OCR.")


@pytest.mark.parametrize(
    "change",
    [
        {"text": 5},
        {"text": "\0" * 40},
        {"title": ["x"]},
        {"blocks": []},
        {"blocks": [[0, 0, 10_000, 0]]},
        {"blocks": [[0, 5, 3, 0]]},
        {"blocks": [[0, 0, 5, 0], [0, 4, 8, 0]]},
        {"blocks": [[0, -4, 5, 0]]},
        {"blocks": [[99, 0, 5, 0]]},
        {"blocks": [[-1, 0, 5, 0]]},
        {"blocks": [[0, 0, 5, 99]]},
        {"blocks": [[0, 0.0, 5, 0]]},
        {"blocks": [[0, True, 5, 0]]},
        {"blocks": [["heading", 0, 5, 0]]},
        {"blocks": 7},
        {"paths": [5]},
        {"pages": [[0, 1]]},
        {"pages": [[0, 2], [0, 1]]},
        {"pages": [[9999, 1], [9999, 2]]},
        {"outcomes": [0, 99]},
        {"error": ["internal_error", "x"]},
        {"error": ["needs_ocr", {}]},
        {"error": 5},
    ],
)
def test_nothing_invalid_passes(change: dict[str, object]) -> None:
    value = orjson.loads(encode_document(sample()))
    assert refusal(decode_result, orjson.dumps({**value, **change})) == "parse_crashed"


@pytest.mark.parametrize("payload", [b"", b"[]", b"5", b'"error"', b"{}", b"not json", b"\x80\x04cos\nsystem\n"])
def test_foreign_bytes(payload: bytes) -> None:
    assert refusal(decode_result, payload) == "parse_crashed"


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_with_a_document_error(payload: bytes) -> None:
    with pytest.raises(DocumentError):
        decode_result(payload)
