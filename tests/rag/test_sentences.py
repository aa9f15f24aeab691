import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.sentences import MAX_SENTENCE, Segmenter, is_ordinal_noun, sentence_spans


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


LONG = "Things that were found on board are kept for a while at the kiosk in"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith paid 3.5 euros. He left.", ["Dr. Smith paid 3.5 euros.", "He left."]),
        ("Many, e.g. Anna, i.e. Fig. 3 and No. 5. Next.", ["Many, e.g. Anna, i.e. Fig. 3 and No. 5.", "Next."]),
        ("Is it so? No. It is not.", ["Is it so?", "No.", "It is not."]),
        ("Wir kamen z. B. am 3. Mai an. Nr. 5 fehlt.", ["Wir kamen z. B. am 3. Mai an.", "Nr. 5 fehlt."]),
        ("It began in 1999. The end.", ["It began in 1999.", "The end."]),
        ("He waited... and left… so.", ["He waited... and left… so."]),
        ("He waited… So it ended.", ["He waited…", "So it ended."]),
        ("J. R. Smith came. So did I. They ate.", ["J. R. Smith came.", "So did I.", "They ate."]),
        ("In the U.S. The sun. The U.S. Congress.", ["In the U.S.", "The sun.", "The U.S. Congress."]),
        ('"Really?" he said. "Yes." Good.', ['"Really?" he said.', '"Yes."', "Good."]),
        ("Er sagte: „Nein.“ Dann ging er.", ["Er sagte: „Nein.“", "Dann ging er."]),
        ("(It was late.) Then [no one.] came.", ["(It was late.)", "Then [no one.] came."]),
        ("Version 2.0.1 of example.com/a.b runs. Yes.", ["Version 2.0.1 of example.com/a.b runs.", "Yes."]),
        ("费用是40欧元。员工不可以休假！“好。”他说", ["费用是40欧元。", "员工不可以休假！", "“好。”", "他说"]),
        ("约３．５元。好。", ["约３．５元。", "好。"]),
        ("これは本です。はい？そう", ["これは本です。", "はい？", "そう"]),
        ("هل هذا صحيح؟ نعم. لا", ["هل هذا صحيح؟", "نعم.", "لا"]),
        ("यह सच है। वह गया॥ फिर", ["यह सच है।", "वह गया॥", "फिर"]),
        ("ภาษาไทย ไม่มีจุด\nบรรทัดใหม่", ["ภาษาไทย ไม่มีจุด", "บรรทัดใหม่"]),
        ("It costs 40. [1] It is due.[2][3] End [4].", ["It costs 40. [1]", "It is due.[2][3]", "End [4]."]),
        ("费用。【1】好", ["费用。【1】", "好"]),
        ("# Title\nText", ["# Title", "Text"]),
        ("- one\n- two goes\n  on here\n1. First. Second.", ["- one", "- two goes\n  on here", "1. First.", "Second."]),
        ("| a | b. C |\n|---|---|\n| x | y |", ["| a | b. C |", "|---|---|", "| x | y |"]),
        ("A line wraps\nin lower case. Next", ["A line wraps\nin lower case.", "Next"]),
        ("One,\nTwo\nThree", ["One,\nTwo", "Three"]),
        ("Kept in the\nBlue kiosk", ["Kept in the\nBlue kiosk"]),
        ("A drill is held every\n14 days. Next", ["A drill is held every\n14 days.", "Next"]),
        (f"{LONG} Port\nAveril, daily. Next", [f"{LONG} Port\nAveril, daily.", "Next"]),
        (f"Yes. {LONG} Port\nAveril. Next", ["Yes.", f"{LONG} Port\nAveril.", "Next"]),
        (f"{LONG} port.\nAveril is next", [f"{LONG} port.", "Averil is next"]),
        (f"{LONG} Port\n\nAveril", [f"{LONG} Port", "Averil"]),
        (f"{LONG} Port\n- Averil", [f"{LONG} Port", "- Averil"]),
        (f"{LONG} port:\nAveril", [f"{LONG} port:", "Averil"]),
        (f"{LONG} Port\n{LONG} Averil", [f"{LONG} Port", f"{LONG} Averil"]),
        (f"{LONG.title()}\nAveril", [LONG.title(), "Averil"]),
        ("Dunlin 25 knots 33 knots\nTern 19 knots", ["Dunlin 25 knots 33 knots", "Tern 19 knots"]),
        ("Para\n\nin two", ["Para", "in two"]),
        ("Open 9 to 5 [1]\nclosed on Monday", ["Open 9 to 5 [1]", "closed on Monday"]),
        ("Ends here.\na) first\nb) second", ["Ends here.", "a) first", "b) second"]),
        ("```py\na = b. C\n\nx[1]\n```\nAfter. It", ["```py", "a = b. C", "x[1]", "```", "After.", "It"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_json_is_cut_at_its_strings() -> None:
    text = '{"answer": "It costs 40. It is due. [1]", "n": [1, 2], "t": "a \\"b\\" c\\nd"}'
    found = cut(text)
    assert "It costs 40." in found
    assert "It is due. [1]" in found
    assert 'a \\"b\\" c' in found
    segmenter = Segmenter()
    segmenter.feed(text)
    assert segmenter.json


@pytest.mark.parametrize("text", ["{braces} are text.", "[1] is a marker.", "{", "[", "{ and so on"])
def test_what_only_looks_like_json(text: str) -> None:
    segmenter = Segmenter()
    segmenter.feed(text)
    segmenter.close()
    assert not segmenter.json


def test_a_sentence_without_end_is_cut_at_white_space() -> None:
    text = "word " * 3000
    lengths = [end - start for start, end in sentence_spans(text)]
    assert max(lengths) <= MAX_SENTENCE
    assert all(not text[start:end].startswith("ord") for start, end in sentence_spans(text))
    assert [end - start for start, end in sentence_spans("x" * 9000)] == [4000, 4000, 1000]


def test_a_sentence_closes_as_soon_as_what_follows_is_known() -> None:
    segmenter = Segmenter()
    assert segmenter.feed("It costs 40.") == []
    assert segmenter.feed(" I") == []
    assert segmenter.feed("t is due. ") == [(0, 12)]
    assert segmenter.feed("x") == []
    assert segmenter.close() == [(13, 25)]
    assert segmenter.close() == []


def test_ordinal_nouns() -> None:
    assert is_ordinal_noun("Mai")
    assert not is_ordinal_noun("fee")


PIECES = st.sampled_from(
    [
        "Dr. ",
        "A",
        ". ",
        "[1]",
        "[",
        "1",
        "]",
        " ",
        "\n",
        "\n\n",
        "a) ",
        "b",
        "Bob",
        ".",
        "?",
        '"',
        "”",
        "“",
        "。",
        "3",
        ".5",
        "- ",
        "| ",
        "# ",
        "```",
        '{"',
        "\\",
        "n",
        "…",
        "Mai ",
        "e.g. ",
        "，",
        "\t",
        ", ",
        "x" * 900,
        " " * 120,
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_stream_is_cut_like_the_whole_text(text: str, steps: list[int]) -> None:
    segmenter, found, at, n = Segmenter(), [], 0, 0
    while at < len(text):
        step = steps[n % len(steps)]
        found += segmenter.feed(text[at : at + step])
        at, n = at + step, n + 1
    assert found + segmenter.close() == sentence_spans(text)


@settings(deadline=None, max_examples=150)
@given(TEXTS)
def test_spans_are_ordered_stripped_and_lose_nothing(text: str) -> None:
    at = 0
    for start, end in sentence_spans(text):
        assert text[at:start].strip() == ""
        assert text[start:end] == text[start:end].strip() != ""
        assert end - start <= MAX_SENTENCE + 100
        at = end
    assert text[at:].strip() == ""


LINES = st.lists(
    st.sampled_from(["the", "Port", "of", "14", "Tern,", "kept.", "on", "board", "\n", "\n", "things", "|"])
)


@given(LINES.map(" ".join), LINES.map(" ".join), st.integers(1, 40))
def test_wrapped_text_is_cut_alike_in_pieces(head: str, tail: str, size: int) -> None:
    text = f"{head}{LONG} Port\n{tail}"
    segmenter, found = Segmenter(), []
    for at in range(0, len(text), size):
        found += segmenter.feed(text[at : at + size])
    assert found + segmenter.close() == sentence_spans(text)
