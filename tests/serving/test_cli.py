from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving import cli

# pydantic is not in the list: typer imports it by itself.
HEAVY = ("fastapi", "torch", "celery", "sqlalchemy", "uvicorn", "numpy", "qdrant_client", "httpx", "psutil")


def environment(**more: str) -> dict[str, str]:
    names = ("QDRANT_URL", "BROKER_URL", "DATABASE_URL", "BLOB_URL", "ENGINES")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TENSORAS_") and k not in names}
    return {**kept, "COLUMNS": "200", **more}


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Tensoras = Callable[..., Done]


@pytest.fixture
def tensoras(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tensoras:
    """The command in this process, which has everything imported already: arguments, then variables by name."""

    def run(*arguments: str, **variables: str) -> Done:
        for name in set(os.environ) - set(environment()):
            monkeypatch.delenv(name)
        for name, value in {"COLUMNS": "200", **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["tensoras", *arguments])
        monkeypatch.setattr("ingestion.logs.set_up", lambda level: None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Done(ended.value.code or 0, out, err)  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["version"]], ids=" ".join)
def test_no_heavy_module_for_a_light_question(arguments: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from serving.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert done.stdout.strip()


def test_help_names_the_commands(tensoras: Tensoras) -> None:
    done = tensoras("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("serve", "worker", "version", "settings"))


def one_sentence(done: Done, *words: str) -> None:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tensoras: ")
    for word in words:
        assert word in last


def test_a_misspelt_setting(tensoras: Tensoras, tmp_path: Path) -> None:
    done = tensoras("serve", "--data-dir", str(tmp_path / "data"), TENSORAS_PROT="1")
    one_sentence(done, "TENSORAS_PROT", "TENSORAS_PORT")
    assert not (tmp_path / "data").exists()


def test_a_wrong_value_is_named_and_not_repeated(tensoras: Tensoras, tmp_path: Path) -> None:
    done = tensoras("serve", "--data-dir", str(tmp_path), TENSORAS_BOOTSTRAP_KEY="geheim")
    one_sentence(done, "TENSORAS_BOOTSTRAP_KEY", "16 characters")
    assert "geheim" not in done.stderr


def test_engines_that_are_no_json(tensoras: Tensoras, tmp_path: Path) -> None:
    one_sentence(tensoras("serve", "--data-dir", str(tmp_path), "--port", "0", ENGINES="{nope"), "ENGINES")


@pytest.mark.parametrize("value", ["0", "many", "99999", "-1"])
def test_wrong_engine_threads(tensoras: Tensoras, tmp_path: Path, value: str) -> None:
    folder = tmp_path / "engine"
    for name in ("bin/python", "engine.stamp", "models/smollm2-135m-instruct/conversion.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    done = tensoras(
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
        TENSORAS_ENGINE_DIR=str(folder),
        TENSORAS_ENGINE_THREADS=value,
    )
    one_sentence(done, "TENSORAS_ENGINE_THREADS", "1 to 1024")


def test_a_port_that_is_taken(tensoras: Tensoras, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        one_sentence(tensoras("serve", "--port", port, "--data-dir", str(tmp_path)), port, "taken", "--port")


def test_a_host_that_is_unknown(tensoras: Tensoras, tmp_path: Path) -> None:
    one_sentence(tensoras("serve", "--host", "no such host", "--data-dir", str(tmp_path)), "--host")


def test_a_data_folder_that_cannot_be(tensoras: Tensoras, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one_sentence(tensoras("serve", "--data-dir", str(tmp_path / "file")), "--data-dir")


def test_worker_without_settings_is_refused_in_a_sentence() -> None:
    command = [sys.executable, "-m", "serving.cli", "worker"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_hide_secrets(tensoras: Tensoras) -> None:
    engines = '{"m": {"urls": ["http://e/v1"], "api_key": "engine-secret"}}'
    done = tensoras(
        "settings",
        TENSORAS_PORT="4711",
        TENSORAS_BOOTSTRAP_KEY="operator-secret-1234",
        QDRANT_API_KEY="store-secret",
        DATABASE_URL="postgresql://u:database-secret@h/d",
        ENGINES=engines,
    )
    assert done.returncode == 0
    assert "secret" not in done.stdout
    lines = done.stdout.splitlines()
    assert "TENSORAS_PORT=4711  (environment)" in lines
    assert "TENSORAS_HOST=127.0.0.1  (default)" in lines
    assert "DATABASE_URL=postgresql://u:********@h/d  (environment)" in lines
    assert len({line.partition("=")[0] for line in lines}) == len(lines)


def test_unknown_command(tensoras: Tensoras) -> None:
    done = tensoras("serv")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_ctrl_c_is_not_a_traceback(tmp_path: Path) -> None:
    """Interrupted before anything answers: nothing is left, nothing is dumped."""
    command = [sys.executable, "-m", "serving.cli", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(
        command, env=environment(TENSORAS_ENGINE_DIR=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"serves on" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in errors
