"""Text recognition through the `tesseract` program, where it is installed. Optional: without it, scans are
refused with needs_ocr."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ingestion.parse.canonical import Canonical
from ingestion.parse.detect import detect
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.text import write_text
from rag.errors import DocumentError

MAX_PAGES = 200
MAX_PIXELS = 40_000_000
PAGE_SECONDS = 40.0
_DPI = 200
_ROTATE = re.compile(rb"^Rotate:\s*(90|180|270)\s*$", re.M)
_CONFIDENCE = re.compile(rb"^Orientation confidence:\s*([\d.]+)", re.M)
_MIN_CONFIDENCE = 1.0
# tesseract takes languages joined by "+"; what is not installed would make it fail.
_LANGUAGES = ("eng", "deu", "fra", "spa", "ita", "por", "nld", "rus", "ara", "chi_sim", "jpn", "kor")
_TAIL = 300


class OcrFailed(Exception):
    """One page could not be recognized; the others may be."""


class Ocr:
    """Recognizes rendered pages, at most MAX_PAGES of one document. Nothing is written to disk."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._pages = 0
        self._languages = "+".join(_installed(binary)) or "eng"

    @classmethod
    def find(cls) -> Ocr | None:
        """None where tesseract is not on the PATH."""
        binary = shutil.which("tesseract")
        return cls(binary) if binary else None

    def page(self, page: Any) -> str:
        """Text of one pdfium page, turned upright first. Raises OcrFailed, or DocumentError past MAX_PAGES."""
        self._pages += 1
        if self._pages > MAX_PAGES:
            raise DocumentError(
                "too_large",
                f"More than {MAX_PAGES} scanned pages would need text recognition. Split the file, or "
                "upload one that "
                "already has a text layer.",
            )
        width, height = page.get_size()
        scale = min(_DPI / 72, (MAX_PIXELS / max(width * height, 1)) ** 0.5)
        turn = self._turn(_pgm(page, scale, 0))
        return self._text(_pgm(page, scale, turn))

    def image(self, path: Path) -> str:
        """Text of a picture file."""
        return self._text(path.read_bytes())

    def _turn(self, image: bytes) -> int:
        """Degrees clockwise to the upright page. Too little text to tell counts as upright."""
        try:
            done = self._run(image, "--psm", "0", "-l", "osd")
        except OcrFailed:
            return 0
        found, sure = _ROTATE.search(done), _CONFIDENCE.search(done)
        if found is None or sure is None or float(sure[1]) < _MIN_CONFIDENCE:
            return 0
        return int(found[1])

    def _text(self, image: bytes) -> str:
        return self._run(image, "--psm", "1", "-l", self._languages).decode("utf-8", "replace")

    def _run(self, image: bytes, *options: str) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - fixed program, fixed options, data through a pipe
                [self._binary, "stdin", "stdout", "--dpi", str(_DPI), *options],
                input=image,
                capture_output=True,
                timeout=PAGE_SECONDS,
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OcrFailed(f"tesseract took longer than {PAGE_SECONDS:g} s for one page") from error
        if done.returncode != 0:
            raise OcrFailed(f"tesseract: {done.stderr[-_TAIL:].decode('utf-8', 'replace')}")
        return done.stdout


def _environment() -> dict[str, str]:
    kept = ("PATH", "LD_LIBRARY_PATH", "TESSDATA_PREFIX")
    values = {name: os.environ[name] for name in kept if name in os.environ}
    return {**values, "OMP_THREAD_LIMIT": "1", "LC_ALL": "C"}


def _installed(binary: str) -> list[str]:
    listing = subprocess.run(  # noqa: S603 - fixed program and options
        [binary, "--list-langs"], capture_output=True, timeout=PAGE_SECONDS, check=False, text=True, env=_environment()
    )
    return [language for language in _LANGUAGES if language in listing.stdout.split()]


def _pgm(page: Any, scale: float, turn: int) -> bytes:
    """The page rendered in grey as a PGM image, which needs no image library."""
    bitmap = page.render(scale=scale, rotation=turn, grayscale=True)
    try:
        width, height, stride = bitmap.width, bitmap.height, bitmap.stride
        pixels = bytes(bitmap.buffer)
        rows = (pixels[at * stride : at * stride + width] for at in range(height))
        return b"P5 %d %d 255\n" % (width, height) + b"".join(rows)
    finally:
        bitmap.close()


def parse_image(path: Path) -> ParsedDocument:
    """One document of one page from a picture. Raises DocumentError needs_ocr where tesseract is not
    installed."""
    ocr = Ocr.find()
    if ocr is None:
        raise DocumentError(
            "needs_ocr",
            "The file is a picture. Run it through text recognition (OCR), or install tesseract on the "
            "server, and "
            "upload it again.",
        )
    try:
        text = ocr.image(path)
    except OcrFailed as error:
        raise DocumentError(
            "needs_ocr",
            "Text recognition failed on the picture. Save it as PNG, or run it through text recognition yourself, and "
            "upload it again.",
        ) from error
    out = Canonical()
    out.page(1, "ocr" if text.strip() else "blank")
    write_text(text, out)
    return out.build(detect(path, path.name))
