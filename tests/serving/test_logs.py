from __future__ import annotations

import json
import logging
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ingestion.logs import JsonLines
from serving.logfile import open_log, trim


def formatted(message: str, **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "a.b", "levelno": 30, "levelname": "WARNING", "msg": message, **extra})
    line = JsonLines().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


@given(st.text())
def test_any_text_is_one_line_of_json(text: str) -> None:
    assert formatted("%s", args=(text,))["message"] == text


def test_extra_fields_and_exceptions_are_kept() -> None:
    error = ValueError("why")
    found = formatted("m", child="worker", exc_info=(type(error), error, None), path=Path("/x"))
    assert (found["child"], found["path"], found["level"], found["logger"]) == ("worker", "/x", "warning", "a.b")
    assert "ValueError: why" in str(found["exception"])


def test_a_log_is_private_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    for word in (b"one", b"two"):
        with open_log(path) as file:
            file.write(word)
    assert path.read_bytes() == b"onetwo"
    assert path.stat().st_mode & 0o777 == 0o600


def test_trim_keeps_the_newest_and_the_writers_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with open_log(path) as file:
        file.write(b"old" + b"n" * 10)
        file.flush()
        assert trim(path, 10)
        file.write(b"next")
    assert path.read_bytes() == b"next"
    assert (tmp_path / "x.log.1").read_bytes() == b"n" * 10
    assert (tmp_path / "x.log.1").stat().st_mode & 0o777 == 0o600


def test_small_missing_and_odd_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"x" * 10)
    assert not trim(tmp_path / "x.log", 10)
    assert not trim(tmp_path / "none.log", 10)
    (tmp_path / "folder").mkdir()
    assert not trim(tmp_path / "folder", 0)
