from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from serving import processes
from serving.processes import Record


@pytest.fixture
def group() -> Iterator[subprocess.Popen[str]]:
    """A leader with one child that ignores SIGTERM; both print when they are ready."""
    inner = "import signal, time; signal.signal(15, signal.SIG_IGN); print('inner', flush=True); time.sleep(120)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        yield leader
        processes.send(leader.pid, signal.SIGKILL)


def recorded(leader: subprocess.Popen[str]) -> Record:
    item = processes.record("name", leader.pid)
    assert item is not None
    return item


def test_members_are_the_living_of_the_group(group: subprocess.Popen[str]) -> None:
    assert len(processes.members(group.pid)) == 2
    assert group.pid in {process.pid for process in processes.members(group.pid)}


def test_left_over_with_its_leader(group: subprocess.Popen[str]) -> None:
    assert processes.leftover(recorded(group))


def test_left_over_without_its_leader(group: subprocess.Popen[str]) -> None:
    item = recorded(group)
    os.kill(group.pid, signal.SIGKILL)
    group.wait()
    assert processes.leftover(item)


@pytest.mark.parametrize(
    "change",
    [{"created": 1.0}, {"boot": 5}, {"pgid": 1}, {"pid": 0, "pgid": 0}, {"pid": 1, "pgid": 1}],
    ids="-".join,
)
async def test_strangers_are_left_alone(group: subprocess.Popen[str], change: dict[str, float]) -> None:
    item = replace(recorded(group), **change)  # type: ignore[arg-type]
    assert not processes.leftover(item)
    assert await processes.sweep([item]) == []
    assert group.poll() is None


def test_younger_members_only(group: subprocess.Popen[str]) -> None:
    """A group that is older than the record cannot be the recorded one."""
    item = recorded(group)
    os.kill(group.pid, signal.SIGKILL)
    group.wait()
    assert not processes.leftover(replace(item, created=item.created + 3600))


async def test_sweep_ends_a_group_that_lost_its_leader(group: subprocess.Popen[str]) -> None:
    item = recorded(group)
    os.kill(group.pid, signal.SIGKILL)
    group.wait()
    assert await processes.sweep([item], grace=0.05) == ["name"]
    assert processes.members(group.pid) == []


async def test_end_group_of_nothing() -> None:
    done = await asyncio.create_subprocess_exec("true", start_new_session=True)
    await done.wait()
    assert await processes.end_group(done.pid, 0.0)


def test_record_of_the_dead() -> None:
    with subprocess.Popen(["true"]) as done:
        done.wait()
    assert processes.record("name", done.pid) is None


def test_saved_and_loaded(tmp_path: Path) -> None:
    items = [Record("ü", 5, 5, 1.25, 9), Record("b", 6, 6, 2.0, 9)]
    processes.save(tmp_path / "run" / "children.json", items)
    assert processes.load(tmp_path / "run" / "children.json") == items


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"name": 1}]', '{"a": 1}', "\x00"])
def test_rubbish_counts_as_nothing_and_is_told(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "children.json"
    path.write_text(content)
    assert processes.load(path) == []
    assert "cannot be read" in caplog.text


def test_no_file_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert processes.load(tmp_path / "none.json") == []
    assert caplog.text == ""


def test_own_process_is_never_a_left_over() -> None:
    """Our group is led by somebody else, or recorded with another time."""
    me = psutil.Process()
    assert not processes.leftover(Record("me", me.pid, me.pid, me.create_time() - 99, int(psutil.boot_time())))
