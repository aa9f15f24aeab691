import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse.decode import codec_name, decode

GERMAN = "Die Straße ist naß, die Größe überschreitet das übliche Maß. Äpfel und Öl für München. " * 5
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. Широкая электрификация южных губерний. " * 3
JAPANESE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。" * 3
)
CHINESE = "中华人民共和国位于亚洲东部，太平洋西岸，是世界上历史最悠久的国家之一。人们在这里生活。" * 3
KOREAN = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 이성과 양심을 부여받았다. " * 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "utf-32-le"),
        (GERMAN, "utf-32-be"),
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16"),
        (KOREAN, "cp949"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "label", "encoding"),
    [
        ("\u201eZitat\u201c \u2013 fünf \u20ac", "iso-8859-1", "cp1252"),
        ("表示", "Shift_JIS", "cp932"),
        ("镕基", "gb2312", "gb18030"),
    ],
)
def test_a_declared_encoding_wins_over_guessing(text: str, label: str, encoding: str) -> None:
    assert decode(text.encode(encoding), label) == text


def test_a_wrong_label_does_not_spoil_the_text() -> None:
    assert decode(GERMAN.encode(), "utf-16") == GERMAN
    assert decode(GERMAN.encode(), "no-such-encoding") == GERMAN
    assert codec_name("base64") is None
    assert codec_name("rot13") is None


def test_one_broken_byte_is_one_broken_character() -> None:
    data = bytearray(JAPANESE.encode())
    data[30] = 0xFF
    text = decode(bytes(data))
    assert text is not None
    assert text.count("\ufffd") <= 3
    assert JAPANESE[20:100] in text


def test_binary_is_not_text() -> None:
    assert decode(random.Random(1).randbytes(5000)) is None
    assert decode(bytes(range(256)) * 4) is None


@given(st.binary(max_size=400))
def test_any_bytes_give_text_or_none(data: bytes) -> None:
    assert isinstance(decode(data), str | None)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200))
def test_utf8_is_never_misread(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()) == text
