from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine import vllm
from serving.engine.vllm import Engine


def complete(folder: Path) -> Engine:
    engine = Engine(folder)
    for path in (engine.python, folder / "engine.stamp", engine.model / "conversion.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return engine


def test_complete_engine(tmp_path: Path) -> None:
    assert complete(tmp_path).missing() is None


@pytest.mark.parametrize("name", ["bin/python", "engine.stamp", "models/smollm2-135m-instruct/conversion.json"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    engine = complete(tmp_path)
    (tmp_path / name).unlink()
    assert engine.missing()


def test_nothing_there(tmp_path: Path) -> None:
    assert Engine(tmp_path / "none").missing() == "the engine is not installed"


def test_command(tmp_path: Path) -> None:
    command = vllm.command(Engine(tmp_path), 4711)
    assert command[:3] == (str(tmp_path / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server")
    options = dict(itertools.pairwise(command))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "4711")
    assert options["--served-model-name"] == "smollm2-135m-instruct"
    assert "--no-enable-chunked-prefill" in command
    assert "--api-key" not in command


def test_environment_is_offline_silent_and_ours_alone(tmp_path: Path) -> None:
    inherited = {"PATH": "/bin", "PYTHONPATH": "/x", "HF_HUB_OFFLINE": "0", "HTTPS_PROXY": "p", "DATABASE_URL": "d"}
    found = vllm.environment(inherited, api_key="k", threads=2, cache=tmp_path)
    assert not {"PYTHONPATH", "HTTPS_PROXY", "DATABASE_URL"} & set(found)
    assert {found[name] for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")} == {"1"}
    assert (found["PATH"], found["VLLM_API_KEY"], found["OMP_NUM_THREADS"]) == ("/bin", "k", "2")
    assert found["VLLM_CACHE_ROOT"].startswith(str(tmp_path))


def test_environment_without_home(tmp_path: Path) -> None:
    assert vllm.environment({}, api_key="k", threads=1, cache=tmp_path)["HOME"] == str(tmp_path)


@given(st.integers(1, 1024))
def test_threads_leave_half_of_the_cores(cores: int) -> None:
    assert 1 <= vllm.threads_for(cores) <= max(1, cores / 2)


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 4096), ("", 4096), ("x", 4096)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, most: int) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert 1 <= vllm.usable_cores(path) <= most
    assert vllm.usable_cores(path) <= vllm.usable_cores(tmp_path / "none")
