"""Text recognition against a stand-in for tesseract: how it is called, and what its failures become."""

from pathlib import Path

import pytest

from ingestion.parse import ocr
from ingestion.parse.ocr import Ocr, parse_image
from ingestion.parse.pdf import parse_pdf
from tests.ingestion.parse.builders import CORPUS, refusal

SCRIPT = """#!/bin/sh
case "$*" in
  --list-langs) printf 'List of available languages (3):\\neng\\nosd\\ndeu\\n'; exit 0;;
esac
cat > "{folder}/input"
echo "$*" >> "{folder}/calls"
env > "{folder}/environment"
case "$*" in
  *"--psm 0"*) printf 'Rotate: 90\\nOrientation confidence: 5.2\\n';;
  *) {answer};;
esac
"""


@pytest.fixture
def tesseract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    return tmp_path


def answer(folder: Path, command: str) -> None:
    program = folder / "tesseract"
    program.write_text(SCRIPT.format(folder=folder, answer=command))
    program.chmod(0o755)


def test_scanned_pages_are_turned_and_read(tesseract: Path) -> None:
    answer(tesseract, "echo recognized words")
    document = parse_pdf(CORPUS / "ocr_test_rotated_90.pdf")
    assert document.page_outcomes == ("ocr",)
    assert document.text == "recognized words"
    calls = (tesseract / "calls").read_text().splitlines()
    assert ["--psm 0" in call for call in calls] == [True, False]
    assert "-l eng+deu" in calls[1]
    assert (tesseract / "input").read_bytes().startswith(b"P5 ")
    assert "secret" not in (tesseract / "environment").read_text()


def test_pictures(tesseract: Path) -> None:
    answer(tesseract, "echo on the picture")
    document = parse_image(CORPUS / "typewriter.png")
    assert (document.content_type, document.page_outcomes, document.text) == ("image/png", ("ocr",), "on the picture")


def test_a_picture_without_words_is_empty(tesseract: Path) -> None:
    answer(tesseract, "true")
    assert refusal(parse_image, CORPUS / "typewriter.png") == "empty_document"
    assert refusal(parse_pdf, CORPUS / "skew.pdf") == "empty_document"


@pytest.mark.parametrize("command", ["exit 1", "sleep 60"])
def test_failure_is_no_empty_result(tesseract: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(ocr, "PAGE_SECONDS", 0.3)
    answer(tesseract, f"exec {command}" if command.startswith("sleep") else command)
    assert refusal(parse_image, CORPUS / "typewriter.png") == "needs_ocr"
    assert refusal(parse_pdf, CORPUS / "skew.pdf") == "needs_ocr"


def test_pages_are_bounded(tesseract: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(tesseract, "echo words")
    monkeypatch.setattr(ocr, "MAX_PAGES", 2)
    assert refusal(parse_pdf, CORPUS / "cardinal.pdf") == "too_large"


def test_without_the_program_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert Ocr.find() is None
