import struct
import zipfile
from pathlib import Path

import pytest

from ingestion.parse.archive import Archive
from tests.ingestion.parse.builders import ZipMaker, refusal


def test_reads_by_name_whatever_the_case(make_zip: ZipMaker) -> None:
    with Archive(make_zip("a.zip", {"Word/Document.xml": "words"})) as archive:
        assert archive.read("word/document.xml") == b"words"
        assert "/Word/Document.xml" in archive
        assert archive.read_optional("other") is None
        with pytest.raises(KeyError):
            archive.read("other")


def test_declared_sizes_are_summed_before_anything_is_read(make_zip: ZipMaker) -> None:
    path = make_zip("a.zip", {f"part{at}": bytes(2000) for at in range(10)})
    assert refusal(lambda: Archive(path, max_total=15_000)) == "too_large"
    assert refusal(lambda: Archive(path, max_entries=9)) == "too_large"


def test_700_megabytes_of_zeros_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(700):
            part.write(bytes(1_000_000))
    assert path.stat().st_size < 10_000_000
    assert refusal(Archive, path) == "too_large"


def test_high_ratio_alone_is_refused_when_large(tmp_path: Path) -> None:
    path = tmp_path / "tight.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(120_000_000))
    assert refusal(Archive, path) == "too_large"


def test_reading_the_same_part_again_spends_the_budget(make_zip: ZipMaker) -> None:
    path = make_zip("a.zip", {"part": bytes(10_000)})
    with Archive(path, max_total=25_000) as archive:
        archive.read("part")
        archive.read("part")
        assert refusal(archive.read, "part") == "too_large"


def lie_about_size(path: Path, declared: int) -> None:
    """Rewrites the uncompressed size in the local and the central header."""
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(magic)
        data[at + offset : at + offset + 4] = struct.pack("<I", declared)
    path.write_bytes(bytes(data))


def test_a_lying_size_is_corrupt_not_expanded(make_zip: ZipMaker) -> None:
    path = make_zip("a.zip", {"part": bytes(5_000_000)})
    lie_about_size(path, 10)
    with Archive(path) as archive:
        assert refusal(archive.read, "part") == "corrupt_document"


def test_damage_passwords_and_odd_methods(tmp_path: Path, make_zip: ZipMaker) -> None:
    path = make_zip("a.zip", {"part": b"abc" * 5000})
    data = bytearray(path.read_bytes())
    data[45:60] = b"\xff" * 15
    path.write_bytes(bytes(data))
    with Archive(path) as archive:
        assert refusal(archive.read, "part") == "corrupt_document"

    locked = make_zip("b.zip", {"part": b"abc"})
    data = bytearray(locked.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    locked.write_bytes(bytes(data))
    with Archive(locked) as archive:
        assert refusal(archive.read, "part") == "needs_password"

    other = tmp_path / "c.zip"
    with zipfile.ZipFile(other, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("part", b"abc" * 100)
    with Archive(other) as opened:
        assert refusal(opened.read, "part") == "unsupported_document"


def test_not_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"PK\x03\x04 and nothing else")
    assert refusal(Archive, path) == "corrupt_document"
