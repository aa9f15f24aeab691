from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from serving.lock import NAME, prepare_data_dir, server_lock

HOLDER = """
import sys, time
from pathlib import Path
from serving.lock import server_lock
with server_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    {then}
"""


def hold(folder: Path, then: str = "time.sleep(120)") -> subprocess.Popen[str]:
    """Another process that holds the lock when this returns."""
    command = [sys.executable, "-c", HOLDER.format(then=then), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_server_is_refused_with_pid_and_folder(tmp_path: Path) -> None:
    with hold(tmp_path) as other:
        try:
            with pytest.raises(ConfigurationError) as caught, server_lock(tmp_path):
                pass
            expected = f"another server (pid {other.pid}) is using {tmp_path}; stop it or choose another --data-dir"
            assert caught.value.message == expected
        finally:
            other.kill()


def test_a_killed_server_is_no_obstacle(tmp_path: Path) -> None:
    with hold(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / NAME).read_text() == f"{other.pid}\n"
    with server_lock(tmp_path):
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


def test_released_and_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with server_lock(tmp_path):
            pass


def test_refusal_leaves_the_holders_pid(tmp_path: Path) -> None:
    with server_lock(tmp_path):
        code = HOLDER.format(then="pass")
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode != 0
        assert f"(pid {os.getpid()})" in done.stderr
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False).pid",
        "os.fork() or (time.sleep(60), os._exit(0))",
    ],
    ids=["exec", "fork"],
)
def test_children_of_a_dead_server_do_not_keep_the_lock(tmp_path: Path, start: str) -> None:
    then = f"import os, subprocess; print({start}, flush=True); time.sleep(120)"
    with hold(tmp_path, then) as other:
        assert other.stdout is not None
        child = int(other.stdout.readline())
        other.kill()
        try:
            os.kill(child, 0)  # it lives
            other.wait(30)
            with server_lock(tmp_path):
                os.kill(child, 0)
        finally:
            os.kill(child, signal.SIGKILL)


def test_data_folder_is_made_private_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = prepare_data_dir(Path("a") / "b ü")
    assert folder == (tmp_path / "a" / "b ü").resolve()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["what?", "a#b", "100%"])
def test_names_that_would_break_urls_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="choose another --data-dir"):
        prepare_data_dir(tmp_path / name)


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match="choose another --data-dir"):
            prepare_data_dir(path)


def test_a_folder_in_the_place_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"), server_lock(tmp_path):
        pass


def test_rubbish_in_the_lock_file_is_harmless(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff" * 5000)
    with server_lock(tmp_path):
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


def test_a_curious_reader_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds a shared lock for a moment, to see whether a server runs."""
    (tmp_path / NAME).touch()
    with (tmp_path / NAME).open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monkeypatch.setattr("serving.lock.time.sleep", lambda _: fcntl.flock(reader, fcntl.LOCK_UN))
        with server_lock(tmp_path):
            pass
