"""Starts a server for the quickstart, or finds the one that an earlier run left running, and stops it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("QUICKSTART_DATA_DIR") or ROOT / ".tensoras").absolute()
DEFAULT_PORT = 8000
START_SECONDS = 120.0
READY_SECONDS = 300.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.3
_LOG_LIMIT = 8 * 1024 * 1024
_started: list[subprocess.Popen[bytes]] = []  # held, because Python complains about a running child let go


class QuickstartError(Exception):
    """What went wrong and what to do about it, in one sentence."""


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    key: str
    data: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client wants as its base URL."""
        return f"{self.origin}/v1"


@dataclass(frozen=True, slots=True)
class Running:
    """The process that a quickstart started. A number alone may meanwhile belong to another process, so the
    time of its start (Unix seconds) is kept beside it."""

    pid: int
    started: float
    port: int

    def process(self) -> psutil.Process | None:
        """The living process, or None."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


# the whole story -------------------------------------------------------------------------------------
def running_server(folder: Path, console: Console) -> Server:
    """A healthy server on the data folder: the running one, or a new one. Raises QuickstartError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    earlier = read_state(folder)
    alive = earlier if earlier and earlier.process() else None
    server = Server(choose_port(alive), admin_key(folder), folder)
    owner = who_answers(server)
    if owner == "another" or (owner == "silent" and alive is None):
        raise QuickstartError(not_ours(server, alive))
    if owner == "us":
        console.print(f"Using the server that is already running on {server.origin}.")
        return server
    wait_until_healthy(server, alive or start(server), console)
    return server


def not_ours(server: Server, alive: Running | None) -> str:
    if alive is not None:
        return "The server of this folder runs with another key: `make stop`, then `make quickstart` again."
    return (
        f"Port {server.port} is taken by another program, or by a server with another key: "
        f"choose a free one with `QUICKSTART_PORT={server.port + 1} make quickstart`."
    )


def choose_port(alive: Running | None) -> int:
    """QUICKSTART_PORT, else the port of the server that runs already, else the default."""
    wanted = os.environ.get("QUICKSTART_PORT", "")
    if wanted and not (wanted.isdecimal() and 0 < int(wanted) < 65536):
        raise QuickstartError(f"QUICKSTART_PORT is {wanted!r}: give a number from 1 to 65535.")
    if alive is None:
        return int(wanted or DEFAULT_PORT)
    if wanted and int(wanted) != alive.port:
        raise QuickstartError(
            f"The server of this folder runs on port {alive.port} already: "
            "run `make stop` first, or leave QUICKSTART_PORT unset to use it."
        )
    return alive.port


def admin_key(folder: Path) -> str:
    """The operator's key: TENSORAS_BOOTSTRAP_KEY if set, else one made once and kept in a private file."""
    given = os.environ.get("TENSORAS_BOOTSTRAP_KEY")
    if given:
        return given
    path = folder / "bootstrap.key"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"tns_{secrets.token_urlsafe(32)}\n")
        draft.rename(path)  # whole or not at all: an interrupted run leaves no empty key
    path.chmod(0o600)
    return path.read_text().strip()


# starting --------------------------------------------------------------------------------------------
def start(server: Server) -> Running:
    """Starts `tensoras serve` in a session of its own, so that it outlives this script and its terminal."""
    log = log_file(server.data)
    log.parent.mkdir(mode=0o700, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as out:
        child = subprocess.Popen(
            [*command(), "serve", "--data-dir", str(server.data), "--port", str(server.port)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TENSORAS_BOOTSTRAP_KEY": server.key},
            cwd=ROOT,
            start_new_session=True,
        )
    _started.append(child)
    state = Running(child.pid, psutil.Process(child.pid).create_time(), server.port)
    write_state(server.data, state)
    return state


def command() -> list[str]:
    """The `tensoras` of this Python's environment, else the one on the path."""
    beside = Path(sys.executable).parent / "tensoras"
    found = str(beside) if beside.exists() else shutil.which("tensoras")
    if found is None:
        raise QuickstartError("The command `tensoras` is not installed: run `make quickstart`, or `pip install .`")
    return [found]


def who_answers(server: Server) -> str:
    """Who listens on the port: `us`, `another`, `nobody`, or someone `silent`, perhaps still starting."""
    try:
        with httpx.Client(trust_env=False, timeout=3.0) as http:
            if http.get(f"{server.origin}/health").status_code != httpx.codes.OK:
                return "another"
            reply = http.get(f"{server.base_url}/models", headers={"Authorization": f"Bearer {server.key}"})
    except httpx.ConnectError:
        return "nobody"
    except httpx.TimeoutException:
        return "silent"
    except httpx.HTTPError:
        return "another"
    # 503: the server has not loaded enough to know keys; wait_until_ready asks again
    return "us" if reply.status_code in (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE) else "another"


def wait_until_healthy(server: Server, state: Running, console: Console) -> None:
    end = time.monotonic() + START_SECONDS
    with console.status(f"Starting the server on {server.origin} …"):
        while who_answers(server) != "us":
            check_alive(server, state)
            if time.monotonic() > end:
                raise QuickstartError(
                    f"The server did not answer within {START_SECONDS:.0f} s: read {log_file(server.data)}, "
                    "then `make stop` and `make quickstart` again."
                )
            time.sleep(POLL_SECONDS)
    console.print(f"The server runs on {server.origin} (log: {log_file(server.data)}).")


def check_alive(server: Server, state: Running | None) -> None:
    """Raises QuickstartError, with the end of the log, when the server that we started has died."""
    if state is not None and state.process() is None:
        forget_state(server.data)
        raise QuickstartError(
            f"The server has stopped. The end of its log:\n{log_tail(server.data)}\n"
            f"Repair what it names and run `make quickstart` again; the whole log is {log_file(server.data)}."
        )


# readiness -------------------------------------------------------------------------------------------
def wait_until_ready(server: Server, console: Console) -> None:
    """Waits for /ready and says what is missing meanwhile."""
    end = time.monotonic() + READY_SECONDS
    told = ""
    with console.status("Loading …") as line:
        while missing := missing_parts(server):
            check_alive(server, read_state(server.data))
            text = "; ".join(f"{name}: {why}" for name, why in missing.items())
            if time.monotonic() > end:
                raise QuickstartError(f"Not ready after {READY_SECONDS:.0f} s ({text}): read {log_file(server.data)}.")
            line.update(f"Waiting for {text}")
            if not console.is_terminal and text != told:
                console.print(f"Waiting for {text}", markup=False, soft_wrap=True)
            told = text
            time.sleep(POLL_SECONDS)
    if who_answers(server) == "another":
        raise QuickstartError(not_ours(server, None))
    console.print("All parts are ready.")


def missing_parts(server: Server) -> dict[str, str]:
    """What /ready still waits for, by name; empty when the server is ready."""
    try:
        with httpx.Client(trust_env=False, timeout=10.0) as http:
            reply = http.get(f"{server.origin}/ready", headers={"Authorization": f"Bearer {server.key}"})
        return unready(reply.status_code, reply.json())
    except (httpx.HTTPError, ValueError) as error:
        return {"server": f"no answer ({type(error).__name__})"}


def unready(status: int, report: Any) -> dict[str, str]:
    """The parts of a /ready report that are not ready, each with a sentence."""
    if status == httpx.codes.OK:
        return {}
    checks = report.get("checks") if isinstance(report, Mapping) else None
    if not isinstance(checks, Mapping):
        checks = {}
    waiting = {str(name): str(what) for name, what in checks.items() if what != "ok"}
    return waiting or {"server": f"starting (status {status})"}


# stopping --------------------------------------------------------------------------------------------
def stop(folder: Path) -> str:
    """Ends the server of `folder`, gently first. Returns what happened."""
    state = read_state(folder)
    process = (state.process() if state else None) or owner_of_lock(folder)
    if process is None:
        forget_state(folder)
        return "No server is running on this folder."
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()  # its children watch it and end by themselves
        return f"The server (process {process.pid}) did not stop in {STOP_SECONDS:.0f} s and was killed."
    finally:
        forget_state(folder)
    return f"The server (process {process.pid}) has stopped."


def owner_of_lock(folder: Path) -> psutil.Process | None:
    """The server that holds the data folder, also when it was started by hand; None when nobody holds it."""
    try:
        with (folder / "server.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # free: what the file says is from a server that is gone
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return process_of((folder / "server.lock").read_text().strip())


def process_of(pid: str) -> psutil.Process | None:
    try:
        return psutil.Process(int(pid))
    except (ValueError, psutil.NoSuchProcess):
        return None


# files of the data folder ----------------------------------------------------------------------------
def state_file(folder: Path) -> Path:
    return folder / "quickstart.json"


def log_file(folder: Path) -> Path:
    return folder / "logs" / "serve.log"


def read_state(folder: Path) -> Running | None:
    """The server that an earlier run started; None when there is none, or its note is damaged."""
    try:
        raw = json.loads(state_file(folder).read_text())
        return Running(int(raw["pid"]), float(raw["started"]), int(raw["port"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_state(folder: Path, state: Running) -> None:
    draft = state_file(folder).with_suffix(".draft")
    draft.write_text(json.dumps({"pid": state.pid, "started": state.started, "port": state.port}))
    draft.replace(state_file(folder))


def forget_state(folder: Path) -> None:
    state_file(folder).unlink(missing_ok=True)


def log_tail(folder: Path, lines: int = 15) -> str:
    """The last lines of the server's log, at most 16 KiB of it."""
    try:
        with log_file(folder).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "(the log is empty)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
