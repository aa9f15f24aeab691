from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serving import leash

LEASH = [sys.executable, "-I", "-S", leash.__file__]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LEASH, *arguments], capture_output=True, text=True, timeout=30, check=False, **options)  # type: ignore[call-overload,no-any-return]


def wait_gone(pid: int, seconds: float = 20.0) -> None:
    """Returns when the process is gone or a zombie; a watchdog, not a measurement."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} still runs")


def test_the_command_replaces_the_leash() -> None:
    code = "import os; print(os.getpid(), os.getpgrp(), os.getsid(0))"
    with subprocess.Popen([*LEASH, "--", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=30)
    assert {int(word) for word in output.split()} == {process.pid}


def test_exit_code_and_arguments_pass_through() -> None:
    done = run("--", sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "--parent", "--", "ü *")
    assert (done.returncode, done.stdout.strip()) == (7, "['--parent', '--', 'ü *']")


def test_works_as_a_group_leader_already() -> None:
    done = run("--", sys.executable, "-c", "print('ran')", start_new_session=True)
    assert done.stdout == "ran\n"


@pytest.mark.parametrize("arguments", [[], ["--"], ["python"], ["--parent", "--"], ["--parent", "x", "--", "true"]])
def test_wrong_usage_is_explained(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_starts_when_the_parent_is_another_one(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    done = run("--parent", str(os.getppid()), "--", sys.executable, "-c", f"open({str(marker)!r}, 'w')")
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not marker.exists()


def test_starts_under_the_right_parent() -> None:
    assert run("--parent", str(os.getpid()), "--", sys.executable, "-c", "print(1)").stdout == "1\n"


def test_missing_command_is_one_sentence() -> None:
    done = run("--", "/no/such/program")
    assert done.returncode == 127
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    assert run("--", str(tmp_path)).returncode == 126


def test_ignored_and_blocked_signals_are_reset() -> None:
    code = (
        "import signal, subprocess, sys;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT});"
        "subprocess.run(sys.argv[1:], check=True)"
    )
    child = (
        "import signal; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "
        "signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    )
    command = [sys.executable, "-c", code, *LEASH, "--", sys.executable, "-c", child]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "True set()"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent signal is Linux's")
def test_kill_9_of_the_parent_ends_the_command() -> None:
    sleeper = "import time; print('up', flush=True); time.sleep(120)"
    parent_code = (
        "import os, subprocess, sys, time;"
        "p = subprocess.Popen([*sys.argv[1:]]); print(p.pid, flush=True); time.sleep(120)"
    ).replace("[*sys.argv[1:]]", "[*sys.argv[1:4], '--parent', str(os.getpid()), *sys.argv[4:]]")
    # argv: python -I -S leash -- …: the parent is put in before `--`.
    parent_code = parent_code.replace("sys.argv[1:4]", "sys.argv[1:5]").replace("sys.argv[4:]", "sys.argv[5:]")
    command = [sys.executable, "-c", parent_code, *LEASH, "--", sys.executable, "-c", sleeper]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
        child = int(next(line for line in lines if line != "up"))
        parent.send_signal(signal.SIGKILL)
        wait_gone(child)


def test_parse_keeps_everything_after_the_first_separator() -> None:
    assert leash.parse(["--parent", "12", "--", "a", "--", "b"]) == (12, ["a", "--", "b"])
    assert leash.parse(["--", "a"]) == (None, ["a"])
