from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.parse import email as mail
from ingestion.parse.email import parse_eml
from tests.ingestion.parse.builders import CORPUS, Maker, kinds, refusal


def letter(text: str = "Plain words.", html: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.org>"
    message["To"] = "bob@example.org"
    message["Subject"] = "Grüße"
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


def test_head_body_and_attachments(make: Maker) -> None:
    message = letter()
    message.add_attachment(b"PDF", maintype="application", subtype="pdf", filename="bericht.pdf")
    document = parse_eml(make("a.eml", message.as_bytes()))
    assert document.title == "Grüße"
    assert [text for _, text in kinds(document)] == [
        "Grüße",
        "From: Ann <ann@example.org>\nTo: bob@example.org",
        "Plain words.",
        "Attachment: bericht.pdf (application/pdf)",
    ]


def test_the_fuller_of_both_bodies_is_read(make: Maker) -> None:
    html = "<p>" + "The real letter with many words. " * 10
    stub = parse_eml(make("a.eml", letter("Use a browser.", html).as_bytes())).text
    assert "real letter" in stub
    full = parse_eml(make("b.eml", letter("The plain letter, complete.", "<p>The plain letter").as_bytes())).text
    assert full.count("plain letter") == 1


def test_a_forwarded_message_is_read_too(make: Maker) -> None:
    message = letter()
    message.add_attachment(letter("Inner words."))
    assert "Inner words." in parse_eml(make("a.eml", message.as_bytes())).text


def test_encrypted_mail(make: Maker) -> None:
    assert refusal(parse_eml, CORPUS / "fake-encrypted.eml") == "needs_password"
    smime = b"From: a@b\nTo: c@d\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nMIIB"
    assert refusal(parse_eml, make("a.eml", smime)) == "needs_password"


@pytest.mark.parametrize(
    "data",
    [
        b"From: a@b\nContent-Type: text/plain; charset=no-such\n\nwords",
        b"From: a@b\nSubject: =?utf-8?b?broken\nContent-Type: multipart/mixed\n\nwords",
        b"From: a@b\nDate: not a date\nTo: <<<>>>,,;;\nContent-Transfer-Encoding: base64\n\n!!!words",
        b"From: a@b\nSubject: \xff\xfe raw bytes\nContent-Type: text/html\n\n<p>words",
    ],
)
def test_broken_mail_is_still_read(make: Maker, data: bytes) -> None:
    assert "a@b" in parse_eml(make("a.eml", data)).text


@given(st.binary(max_size=200))
def test_no_header_fails(garbage: bytes) -> None:
    import email
    import email.policy

    message = email.message_from_bytes(b"From: " + garbage + b"\n\nx", policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert isinstance(mail._header(message, "From"), str)


def test_parts_are_bounded(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "MAX_PARTS", 3)
    message = letter()
    for at in range(4):
        message.add_attachment(b"x", maintype="a", subtype="b", filename=str(at))
    assert refusal(parse_eml, make("a.eml", message.as_bytes())) == "too_large"
