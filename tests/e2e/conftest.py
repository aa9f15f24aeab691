"""The servers that the end-to-end tests share: one start each per session."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.server import Server, clean_environment, free_port

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the extractive model, and the name of an engine that is not there."""
    engines = json.dumps({"away": {"urls": ["http://127.0.0.1:9/v1"], "aliases": ["llama-3.3-70b"]}})
    server = Server(tmp_path_factory.mktemp("server") / "data", ENGINES=engines)
    server.start().close()
    yield server
    assert server.stop() == 0, server.tail()


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    api = Api(f"http://127.0.0.1:{server.port}", server.environment["TENSORAS_BOOTSTRAP_KEY"])
    api.ready()
    yield api
    api.close()


@dataclass(frozen=True)
class Quickstart:
    """A fresh clone with an empty home in which `make quickstart` has run once."""

    folder: Path
    environment: dict[str, str]
    output: str
    api: Api

    def make(self, target: str, seconds: float) -> str:
        return make(self.folder, self.environment, target, seconds)


def make(folder: Path, environment: dict[str, str], target: str, seconds: float) -> str:
    done = subprocess.run(
        ["make", target],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"make {target} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quickstart]:
    base = tmp_path_factory.mktemp("stranger")
    folder, home = base / "clone", base / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    port = free_port()
    environment = {**clean_environment(home), "QUICKSTART_PORT": str(port)}
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):  # the clone runs its own code, whatever runs this test
        environment.pop(name, None)
    # Only downloads are shared with the outside; what is installed is the clone's own.
    environment.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
    output = make(folder, environment, "quickstart", 900)
    key = (folder / ".tensoras" / "bootstrap.key").read_text().strip()
    api = Api(f"http://127.0.0.1:{port}", key)
    yield Quickstart(folder, environment, output, api)
    api.close()
    make(folder, environment, "stop", 60)
    shutil.rmtree(folder)  # five gigabytes that nobody looks at again
