import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.parse import outlook, unstructured_elements
from ingestion.parse.canonical import Canonical
from ingestion.parse.outlook import parse_msg
from ingestion.parse.sandbox import ParserPool
from ingestion.parse.unstructured_elements import PartitionFailed, covers, partition, write_elements
from rag.errors import DocumentError
from tests.ingestion.parse import outlook as ol
from tests.ingestion.parse.builders import CORPUS, Maker, kinds, refusal

HTML = "<h1>Report</h1><p>Good numbers.</p><table><tr><th>Item<th>Price<tr><td>milk<td>3</table><ul><li>one</ul>"


@pytest.fixture(scope="module", autouse=True)
def _library() -> Iterator[None]:
    """The library as a parser process has it: without torch, which spaCy would import."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setitem(sys.modules, "torch", None)
        partition("msg", CORPUS / "fake-email.msg", process_attachments=False)
        yield


@pytest.fixture
def message(make: Maker) -> Callable[..., Path]:
    def write(values: ol.Values, **parts: list[ol.Values]) -> Path:
        return make("a.msg", ol.msg_bytes(values, **parts))

    return write


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(outlook, "partition", fail)


def test_a_real_message() -> None:
    document = parse_msg(CORPUS / "fake-email.msg")
    assert document.title == "Test Email"
    assert kinds(document)[2:] == [
        ("paragraph", "This is a test email to use for unit tests."),
        ("paragraph", "Important points:"),
        ("list_item", "- Roses are red"),
        ("list_item", "- Violets are blue"),
    ]


def test_envelope_body_and_attachments(message: Callable[..., Path]) -> None:
    path = message(
        {
            ol.SUBJECT: "Grüße",
            ol.SENDER: "Ann",
            ol.SENDER_ADDRESS: "ann@x.org",
            ol.BODY: "Dear Bob,\r\n\r\n1. 日本\r\n\r\nAnn",
        },
        recipients=[{ol.NAME: "Bob", ol.ADDRESS: "bob@x.org"}, {ol.ADDRESS: "c@x.org"}],
        attachments=[{ol.FILE_NAME: "bericht.pdf"}, {ol.CLASS: "x"}],
    )
    document = parse_msg(path)
    assert document.title == "Grüße"
    assert kinds(document) == [
        ("heading", "Grüße"),
        ("paragraph", 'From: "Ann" <ann@x.org>\nTo: Bob <bob@x.org>, c@x.org'),
        ("paragraph", "Dear Bob,"),
        ("list_item", "1. 日本"),
        ("paragraph", "Ann"),
        ("paragraph", "Attachment: bericht.pdf"),
        ("paragraph", "Attachment: unnamed"),
    ]


def test_structure_of_an_html_body(message: Callable[..., Path]) -> None:
    document = parse_msg(message({ol.SUBJECT: "Hi", ol.HTML: HTML.encode(), ol.CODE_PAGE: 65001}))
    assert kinds(document)[1:] == [
        ("heading", "Report"),
        ("paragraph", "Good numbers."),
        ("table", "| Item | Price |\n| --- | --- |\n| milk | 3 |"),
        ("list_item", "- one"),
    ]
    assert document.blocks[-1].headings == ("Hi", "Report")


def test_the_plain_body_wins_where_the_html_lacks_its_words(message: Callable[..., Path]) -> None:
    path = message({ol.BODY: "The whole letter with all its words.", ol.HTML: b"<p>Use Outlook", ol.CODE_PAGE: 65001})
    assert parse_msg(path).text == "The whole letter with all its words."


def test_too_deep_for_the_library(message: Callable[..., Path]) -> None:
    path = message({ol.HTML: b"<div>" * 3000 + b"deep words", ol.CODE_PAGE: 65001})
    assert partition("msg", path, process_attachments=False) == []
    assert parse_msg(path).text == "deep words"


def test_a_wrong_code_page(message: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    path = message({ol.HTML: "<p>Grüße aus Köln".encode("latin-1"), ol.CODE_PAGE: 65001})
    with pytest.raises(PartitionFailed, match="UnicodeDecodeError"):
        partition("msg", path, process_attachments=False)
    assert parse_msg(path).text == "Grüße aus Köln"
    assert "unstructured could not read" in caplog.text


@pytest.mark.usefixtures("no_library")
def test_large_bodies_are_ours(message: Callable[..., Path]) -> None:
    path = message({ol.BODY: "words " * outlook.MAX_BODY_CHARS})
    assert parse_msg(path).text.count("words") == outlook.MAX_BODY_CHARS


@pytest.mark.parametrize("unit", ["<", "😀", "a@", "- ", "日本語。"])
def test_repetition_is_read_in_linear_time(message: Callable[..., Path], unit: str) -> None:
    """spaCy's own tokenizer takes minutes for some of these."""
    assert parse_msg(message({ol.BODY: "x" + unit * 40_000})).text == "x" + (unit * 40_000).rstrip()


@pytest.mark.parametrize(
    "values", [{ol.CLASS: "IPM.Note.SMIME"}, {ol.HEADERS: "content-type: multipart/encrypted\n\n"}]
)
def test_encrypted(message: Callable[..., Path], values: ol.Values) -> None:
    assert refusal(parse_msg, message({ol.SUBJECT: "Hi", **values})) == "needs_password"
    assert "readable" in parse_msg(message({ol.BODY: "readable", **values})).text


def test_signed_is_not_encrypted(message: Callable[..., Path]) -> None:
    path = message({ol.SUBJECT: "Hi", ol.CLASS: "IPM.Note.SMIME.MultipartSigned"})
    assert parse_msg(path).text == "Hi"


def test_nothing_and_damage(message: Callable[..., Path], make: Maker) -> None:
    assert refusal(parse_msg, message({ol.CLASS: "IPM.Note"})) == "empty_document"
    cut = (CORPUS / "fake-email.msg").read_bytes()[:2000]
    assert refusal(parse_msg, make("b.msg", cut)) == "corrupt_document"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), garbage=st.binary(min_size=1, max_size=40))
def test_damage_is_refused_or_read(make: Maker, at: int, garbage: bytes) -> None:
    data = bytearray(ol.msg_bytes({ol.SUBJECT: "Hi", ol.BODY: "Some words.", ol.HTML: HTML.encode()}))
    at %= len(data)
    data[at : at + len(garbage)] = garbage
    path = make("a.msg", bytes(data))
    try:
        outcome = "read" if parse_msg(path).text else "silently empty"
    except DocumentError as error:
        outcome = error.code
    assert outcome in {"read", "corrupt_document", "empty_document", "needs_password"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"]), max_size=200))
def test_no_word_of_a_body_is_lost(make: Maker, body: str) -> None:
    text = parse_msg(make("a.msg", ol.msg_bytes({ol.SUBJECT: "Hi", ol.BODY: body}))).text
    probe = Canonical()
    probe.block("paragraph", body)
    wanted = unstructured_elements._words("" if probe.empty else probe.build("text/plain").text)
    assert len(wanted - unstructured_elements._words(text)) <= len(wanted) // 10


def test_elements_become_blocks() -> None:
    from unstructured.documents import elements as el

    out = Canonical()
    markup = el.ElementMetadata(category_depth=1)
    table = el.ElementMetadata(text_as_html="<table><tr><td>a<td>b<tr><td>c<td>d</table>")
    given_elements = [
        el.Title("Chapter", metadata=markup),
        el.Title("Thank you"),
        el.ListItem("milk"),
        el.ListItem("2. bread"),
        el.Table("a b c d", metadata=table),
        el.Table("c d"),
        el.CodeSnippet("  x = 1"),
        el.FigureCaption("Figure 1"),
        el.PageBreak("gone"),
        el.Address("Street 1"),
        el.Text(""),
    ]
    write_elements(given_elements, out, below=1)
    document = out.build("text/plain")
    assert kinds(document) == [
        ("heading", "Chapter"),
        ("paragraph", "Thank you"),
        ("list_item", "- milk"),
        ("list_item", "2. bread"),
        ("table", "| a | b |\n| --- | --- |\n| c | d |"),
        ("table", "c d"),
        ("code", "  x = 1"),
        ("caption", "Figure 1"),
        ("paragraph", "Street 1"),
    ]


def test_covering() -> None:
    from unstructured.documents.elements import Text

    words = " ".join(f"w{at}" for at in range(10))
    assert covers([Text(words)], words)
    assert covers([Text(words.upper())], words + " <https://x.org/long/path?a=b> http://y.z/q")
    assert covers([Text(words.replace("w3", ""))], words)
    assert not covers([Text(words.replace("w3", "").replace("w4", ""))], words)
    assert not covers([], words)
    assert not covers([], "")
    assert not covers([Text(words)], "")


async def test_in_the_sandbox_without_torch() -> None:
    """The real process, with all its limits: no torch, no download, no language model, and no fallback."""
    pool = ParserPool(ocr=False)
    try:
        document = await pool.parse(CORPUS / "fake-email.msg", "a.msg")
        child = next(iter(pool._children))
        loaded = Path(f"/proc/{child.process.pid}/maps").read_text()
        assert child.tail == b""
    finally:
        await pool.close()
    assert ("list_item", "- Roses are red") in kinds(document)
    assert "spacy" in loaded
    assert [name for name in ("torch", "onnx") if name in loaded] == []
