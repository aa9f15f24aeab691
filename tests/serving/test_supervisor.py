from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import processes
from serving.supervisor import BackOff, Child, Status, Supervisor

FAST = BackOff(first=0.02, limit=0.1)
SLEEP = "import time; time.sleep(120)"
# Says in its log when it is ready for a signal.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(120)"
FAMILY = (
    "import subprocess, sys, time\n"
    f"p = subprocess.Popen([sys.executable, '-c', {DEAF!r}])\n"
    "print('grandchild', p.pid, flush=True)\n"
)


def child(tmp_path: Path, code: str, name: str = "child", **options: object) -> Child:
    return Child(
        name,
        (sys.executable, "-c", code),
        tmp_path / "logs" / f"{name}.log",
        env=dict(os.environ),
        **options,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def supervised(tmp_path: Path, *children: Child, back_off: BackOff = FAST) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(children, run_dir=tmp_path / "run", back_off=back_off)
    try:
        await supervisor.start()
        yield supervisor
    finally:
        await supervisor.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    """For facts of other processes, which offer no event; the time is a watchdog."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def log_has(item: Child, text: str) -> None:
    await eventually(lambda: item.log.exists() and text in item.log.read_text())


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_of(supervisor: Supervisor, name: str = "child") -> int:
    pid = supervisor.status[name].pid
    assert pid is not None
    return pid


async def grandchild_of(item: Child) -> int:
    await log_has(item, "deaf")
    line = next(line for line in item.log.read_text().splitlines() if line.startswith("grandchild"))
    return int(line.split()[1])


async def test_started_up_and_stopped(tmp_path: Path) -> None:
    async with supervised(tmp_path, child(tmp_path, SLEEP)) as supervisor:
        await supervisor.wait_up()
        pid = pid_of(supervisor)
        assert supervisor.readiness() == {"child": "up"}
        assert alive(pid)
    assert not alive(pid)
    assert supervisor.readiness() == {"child": "stopped"}
    assert supervisor.status["child"].last_exit == -signal.SIGTERM


async def test_a_child_that_dies_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(tmp_path, child(tmp_path, SLEEP)) as supervisor:
        await supervisor.wait_up()
        first = pid_of(supervisor)
        os.kill(first, signal.SIGKILL)
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts == 1)
        assert supervisor.status["child"].last_exit == -signal.SIGKILL
        assert "signal SIGKILL" in supervisor.readiness()["child"]
        await supervisor.wait_up()
        assert pid_of(supervisor) != first
    messages = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert vars(messages[0])["child"] == "child"
    assert vars(messages[0])["exit_code"] == -signal.SIGKILL


async def test_exit_code_is_told(tmp_path: Path) -> None:
    async with supervised(tmp_path, child(tmp_path, "raise SystemExit(3)")) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts >= 3)
        assert supervisor.readiness()["child"].startswith("stopped unexpectedly (exit code 3), starts again in")


async def test_never_two_at_once(tmp_path: Path) -> None:
    """Each run fails if it meets another one: O_EXCL on a file that it removes at its end."""
    code = (
        "import os, sys\n"
        f"path = {str(tmp_path / 'single')!r}\n"
        "os.close(os.open(path, os.O_CREAT | os.O_EXCL)); print('alone', flush=True); os.unlink(path)"
    )
    item = child(tmp_path, code)
    async with supervised(tmp_path, item) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts >= 5)
    assert "FileExistsError" not in item.log.read_text()
    assert item.log.read_text().count("alone") >= 5


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    item = Child("child", ("/no/such/program",), tmp_path / "child.log", env={})
    async with supervised(tmp_path, item) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts >= 2)
        assert "exit code 127" in supervisor.readiness()["child"]
    assert "/no/such/program cannot be started" in item.log.read_text()


async def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    async with supervised(tmp_path, child(tmp_path, SLEEP)) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].state == "backing_off")
        assert "could not be started" in supervisor.readiness()["child"]


async def test_sigterm_is_enough_for_a_polite_child(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True); time.sleep(120)"
    )
    item = child(tmp_path, code)
    async with supervised(tmp_path, item) as supervisor:
        await log_has(item, "ready")
    assert "bye" in item.log.read_text()
    assert supervisor.status["child"].last_exit == 0


async def test_a_deaf_child_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    item = child(tmp_path, DEAF, stop_timeout=0.1)
    async with supervised(tmp_path, item) as supervisor:
        await log_has(item, "deaf")
        pid = pid_of(supervisor)
    assert not alive(pid)
    assert supervisor.status["child"].last_exit == -signal.SIGKILL
    assert "did not stop within" in caplog.text


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor.GROUP_GRACE", 0.1)


@pytest.mark.usefixtures("short_grace")
async def test_stop_ends_grandchildren_that_the_child_forgot(tmp_path: Path) -> None:
    item = child(tmp_path, FAMILY + "time.sleep(120)")
    async with supervised(tmp_path, item):
        grandchild = await grandchild_of(item)
    assert not alive(grandchild)


@pytest.mark.usefixtures("short_grace")
async def test_a_crash_takes_the_grandchildren_along_before_the_restart(tmp_path: Path) -> None:
    item = child(tmp_path, FAMILY + "time.sleep(120)")
    async with supervised(tmp_path, item) as supervisor:
        grandchild = await grandchild_of(item)
        os.kill(pid_of(supervisor), signal.SIGKILL)
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts == 1)
        assert not alive(grandchild)


def switch(answers: dict[str, bool]) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        if answers.get("refuse"):
            raise ConnectionRefusedError
        return answers["up"]

    return probe


async def test_up_only_when_the_probe_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor.READY_POLL", 0.01)
    answers = {"refuse": True, "up": False}
    item = child(tmp_path, "print('on', flush=True);" + SLEEP, ready=switch(answers))
    async with supervised(tmp_path, item) as supervisor:
        await log_has(item, "on")
        assert supervisor.readiness() == {"child": "starting"}
        answers.update(refuse=False)
        assert supervisor.readiness() == {"child": "starting"}
        answers.update(up=True)
        await supervisor.wait_up()


async def test_a_child_that_never_answers_is_started_anew(tmp_path: Path) -> None:
    item = child(tmp_path, SLEEP, ready=switch({"up": False}), start_timeout=0.05)
    async with supervised(tmp_path, item) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].restarts >= 2)


async def test_waves_stop_one_after_the_other(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(order)!r}, 'a').write(sys.argv[1]); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(120)"
    )
    items = [
        Child(
            name,
            (sys.executable, "-c", code, name),
            tmp_path / f"{name}.log",
            env=dict(os.environ),
            wave=wave,
        )
        for name, wave in (("c", 2), ("a", 0), ("b", 1))
    ]
    async with supervised(tmp_path, *items):
        for item in items:
            await log_has(item, "ready")
    assert order.read_text() == "abc"


async def test_stop_does_not_wait_for_the_back_off(tmp_path: Path) -> None:
    item = child(tmp_path, "raise SystemExit(1)")
    async with supervised(tmp_path, item, back_off=BackOff(first=3600)) as supervisor:
        await supervisor.wait_for(lambda: supervisor.status["child"].state == "backing_off")
        async with asyncio.timeout(30):
            await supervisor.stop()
    assert supervisor.readiness() == {"child": "stopped"}


async def test_stop_before_start_and_twice(tmp_path: Path) -> None:
    supervisor = Supervisor([child(tmp_path, SLEEP)], run_dir=tmp_path)
    await supervisor.stop()
    await supervisor.stop()
    assert supervisor.readiness() == {"child": "stopped"}


async def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    item = child(tmp_path, DEAF, stop_timeout=3600)
    async with supervised(tmp_path, item) as supervisor:
        await log_has(item, "deaf")
        pid = pid_of(supervisor)
        supervisor.kill()
        await eventually(lambda: not alive(pid))


async def test_secrets_are_not_in_command_lines_nor_in_repr(tmp_path: Path) -> None:
    item = Child(
        "child",
        (sys.executable, "-c", SLEEP),
        tmp_path / "child.log",
        env={**os.environ, "API_KEY": "hush-hush"},
    )
    async with supervised(tmp_path, item) as supervisor:
        await supervisor.wait_up()
        listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert SLEEP in listed
        assert "hush-hush" not in listed
    assert "hush-hush" not in repr(item)


async def test_output_goes_to_the_log_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor.TRIM_POLL", 0.01)
    item = child(tmp_path, "import time\nwhile True: print('x' * 999, flush=True); time.sleep(0.002)")
    supervisor = Supervisor([item], run_dir=tmp_path / "run", log_bytes=20_000)
    await supervisor.start()
    older = item.log.with_name("child.log.1")
    await eventually(older.exists)
    await supervisor.stop()
    assert older.stat().st_size <= 20_000
    assert set(older.read_text()) == {"x", "\n"}
    assert item.log.stat().st_mode & 0o077 == 0


async def test_two_children_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same name"):
        Supervisor([child(tmp_path, SLEEP), child(tmp_path, SLEEP)], run_dir=tmp_path)


async def test_records_follow_the_children(tmp_path: Path) -> None:
    path = tmp_path / "run" / "children.json"
    async with supervised(tmp_path, child(tmp_path, SLEEP)) as supervisor:
        await supervisor.wait_up()
        (item,) = json.loads(path.read_text())
        assert (item["name"], item["pid"]) == ("child", pid_of(supervisor))
    assert json.loads(path.read_text()) == []


SERVER = """
import asyncio, sys
from pathlib import Path
from serving.supervisor import Child, Supervisor

async def main():
    folder, code = Path(sys.argv[1]), sys.argv[2]
    child = Child("child", (sys.executable, "-c", code), folder / "child.log", env={"PATH": "/usr/bin:/bin"})
    supervisor = Supervisor([child], run_dir=folder)
    await supervisor.start()
    await supervisor.wait_up()
    print(supervisor.status["child"].pid, flush=True)
    await asyncio.sleep(120)

LOOP
"""
STOCK = "asyncio.run(main())"
UVLOOP = "import uvloop; uvloop.run(main())"


async def killed_server(tmp_path: Path, code: str, said: str, loop: str = STOCK) -> int:
    """The pid of a child whose server was ended by kill -9, after the child had `said` something."""
    command = [sys.executable, "-c", SERVER.replace("LOOP", loop), str(tmp_path), code]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    pid = int(await server.stdout.readline())
    log = tmp_path / "child.log"
    await eventually(lambda: log.exists() and said in log.read_text())
    server.kill()
    await server.wait()
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent signal is Linux's")
@pytest.mark.parametrize("loop", [STOCK, UVLOOP], ids=["asyncio", "uvloop"])
async def test_kill_9_of_the_server_ends_its_children(tmp_path: Path, loop: str) -> None:
    pid = await killed_server(tmp_path, "print('on', flush=True);" + SLEEP, "on", loop)
    await eventually(lambda: not alive(pid))


async def test_the_next_start_ends_what_ignored_the_signal(tmp_path: Path) -> None:
    pid = await killed_server(tmp_path, DEAF, "deaf")
    assert alive(pid)
    left = processes.load(tmp_path / "children.json")
    assert [item.pid for item in left] == [pid]
    assert await processes.sweep(left, grace=0.1) == ["child"]
    assert not alive(pid)


async def test_start_sweeps(tmp_path: Path) -> None:
    pid = await killed_server(tmp_path, "print('on', flush=True);" + SLEEP, "on")
    supervisor = Supervisor([], run_dir=tmp_path)
    await supervisor.start()
    assert not alive(pid)
    assert processes.load(tmp_path / "children.json") == []
    await supervisor.stop()


@given(st.lists(st.floats(0, 200), max_size=30))
def test_back_off_grows_to_its_limit_and_resets(lives: list[float]) -> None:
    back_off, pause = BackOff(), None
    for lived in lives:
        following = back_off.after(pause, lived)
        assert back_off.first <= following <= back_off.limit
        if pause is None or lived >= back_off.healthy:
            assert following == back_off.first
        else:
            assert following == min(back_off.limit, 2 * pause)
        pause = following


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(state="up"), "up"),
        (Status(state="backing_off", last_exit=2, retry_in=1.26), "exit code 2), starts again in 1.3 s"),
        (Status(state="backing_off", last_exit=-9), "signal SIGKILL"),
        (Status(state="backing_off", last_exit=-99), "signal 99"),
        (Status(state="backing_off", problem="no disk", last_exit=1), "no disk"),
        (Status(state="backing_off"), "unknown reason"),
    ],
)
def test_sentences(status: Status, words: str) -> None:
    assert words in status.sentence()


async def test_a_child_may_be_started_later(tmp_path: Path) -> None:
    items = [child(tmp_path, SLEEP, name) for name in ("first", "second")]
    supervisor = Supervisor(items, run_dir=tmp_path / "run")
    await supervisor.start(later=("second",))
    await supervisor.wait_up("first")
    assert supervisor.readiness() == {"first": "up", "second": "starting"}
    assert supervisor.status["second"].pid is None
    supervisor.start_later()
    await supervisor.wait_up()
    await supervisor.stop()
    supervisor.start_later()
    assert supervisor.readiness() == {"first": "stopped", "second": "stopped"}


async def test_stop_of_a_child_that_was_never_started(tmp_path: Path) -> None:
    supervisor = Supervisor([child(tmp_path, SLEEP)], run_dir=tmp_path / "run")
    await supervisor.start(later=("child",))
    await supervisor.stop()
    supervisor.start_later()
    assert supervisor.status["child"].pid is None
