"""Keeps children running: starts, watches, restarts with growing pauses, stops in order, leaves nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Literal

from serving import leash, processes
from serving.logfile import open_log, trim

log = logging.getLogger(__name__)

State = Literal["starting", "up", "backing_off", "stopped"]
Probe = Callable[[], Awaitable[bool]]

READY_POLL = 0.2
TRIM_POLL = 2.0
GROUP_GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Child:
    """How one child is run. Secrets go into `env`, never into `argv`: everybody can read command lines."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The whole environment."""
    ready: Probe | None = None
    """Whether it answers. Without a probe a child is up as soon as it runs."""
    stop_timeout: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    start_timeout: float = 600.0
    """A child that is not ready after these seconds is started anew."""
    pass_fds: tuple[int, ...] = ()
    wave: int = 0
    """Lower waves stop first; within one all at once. What others depend on has a higher one."""


@dataclass(slots=True)
class Status:
    """What is known of a child now."""

    state: State = "starting"
    pid: int | None = None
    restarts: int = 0
    last_exit: int | None = None
    """Exit code of the last run; negative: the signal that ended it."""
    retry_in: float = 0.0
    problem: str = ""
    """Why the last start failed, where there was no exit code."""

    def sentence(self) -> str:
        """`up`, or a state with what is known about the reason."""
        if self.state != "backing_off":
            return self.state
        return f"stopped unexpectedly ({self.reason()}), starts again in {self.retry_in:.1f} s"

    def reason(self) -> str:
        if self.problem or self.last_exit is None:
            return self.problem or "unknown reason"
        if self.last_exit >= 0:
            return f"exit code {self.last_exit}"
        return f"signal {signal_name(-self.last_exit)}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds between restarts: `first`, doubled up to `limit`; a run of `healthy` seconds resets it."""

    first: float = 0.2
    limit: float = 30.0
    healthy: float = 60.0

    def after(self, pause: float | None, lived: float) -> float:
        """The pause that follows `pause` (None: there was none) after a run of `lived` seconds."""
        if pause is None or lived >= self.healthy:
            return self.first
        return min(self.limit, pause * 2)


class Supervisor:
    """Runs children until `stop`. Use it from one event loop, which runs in the main thread:
    a child ends with the thread that started it."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        run_dir: Path,
        back_off: BackOff | None = None,
        log_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._children = {child.name: child for child in children}
        if len(self._children) != len(children):
            raise ValueError("two children have the same name")
        self._records = run_dir / "children.json"
        self._alive: dict[str, processes.Record] = {}
        self._back_off = back_off or BackOff()
        self._log_bytes = log_bytes
        self.status: dict[str, Status] = {name: Status() for name in self._children}
        self._stop = {name: asyncio.Event() for name in self._children}
        self._changed = asyncio.Condition()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._trimmer: asyncio.Task[None] | None = None

    # control -------------------------------------------------------------------------------------
    async def start(self, *, later: Collection[str] = ()) -> None:
        """Removes what a dead server left behind, then starts every child but those of `later`, which
        `start_later` starts. Returns without waiting for them: see `wait_up`."""
        left = await asyncio.to_thread(processes.load, self._records)
        await processes.sweep(left)
        self._save()
        self._start(name for name in self._children if name not in later)
        self._trimmer = asyncio.create_task(self._trim(), name="trim logs")

    def start_later(self) -> None:
        """Starts what `start` left out; nothing after `stop`."""
        self._start(name for name in self._children if name not in self._tasks)

    def _start(self, names: Iterable[str]) -> None:
        for name in list(names):
            if not self._stop[name].is_set():
                keeping = self._keep(self._children[name])
                self._tasks[name] = asyncio.create_task(keeping, name=f"keep {name}")

    async def stop(self) -> None:
        """Ends every child, wave by wave; safe to call twice, and before `start`."""
        ordered = sorted(self._children.values(), key=lambda child: child.wave)
        for _, wave in groupby(ordered, key=lambda child: child.wave):
            names = [child.name for child in wave]
            for name in names:
                self._stop[name].set()
            tasks = [self._tasks[name] for name in names if name in self._tasks]
            await asyncio.gather(*tasks)
        if self._trimmer:
            self._trimmer.cancel()
            with suppress(asyncio.CancelledError):
                await self._trimmer
            self._trimmer = None
        for status in self.status.values():
            status.state, status.pid = "stopped", None

    def kill(self) -> None:
        """SIGKILL for every group, now and without waiting: the last resort of a second Ctrl-C."""
        for stop in self._stop.values():
            stop.set()
        for item in self._alive.values():
            processes.send(item.pgid, signal.SIGKILL)

    # reading -------------------------------------------------------------------------------------
    def readiness(self) -> dict[str, str]:
        """Child → `up`, or a sentence that says what is wrong."""
        return {name: status.sentence() for name, status in self.status.items()}

    async def wait_up(self, *names: str) -> None:
        """Returns when the named children (all, without names) are up."""
        wanted = names or tuple(self._children)
        await self.wait_for(lambda: all(self.status[name].state == "up" for name in wanted))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition`, asked after each change of a state, holds."""
        async with self._changed:
            await self._changed.wait_for(condition)

    # one child -----------------------------------------------------------------------------------
    async def _keep(self, child: Child) -> None:
        """One loop per child, so that there are never two of a kind."""
        status, stop = self.status[child.name], self._stop[child.name]
        pause: float | None = None
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            began = clock()
            await self._run_once(child)
            if stop.is_set():
                break
            pause = self._back_off.after(pause, clock() - began)
            status.restarts += 1
            # A little chance, so that several children do not start in step after a common fault.
            status.retry_in = pause * random.uniform(0.9, 1.1)  # noqa: S311
            facts = {"child": child.name, "exit_code": status.last_exit, "retry_in": status.retry_in}
            log.warning("child %s ended (%s); restart %d", child.name, status.reason(), status.restarts, extra=facts)
            await self._change(status, "backing_off")
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), status.retry_in)
        await self._change(status, "stopped")

    async def _run_once(self, child: Child) -> None:
        """From spawn until nothing of the group is left."""
        status = self.status[child.name]
        status.problem = ""
        await self._change(status, "starting")
        try:
            process = await self._spawn(child)
        except OSError as error:
            status.problem, status.last_exit = f"it could not be started: {error.strerror or error}", None
            return
        status.pid = process.pid
        log.info("child %s started", child.name, extra={"child": child.name, "pid": process.pid})
        self._remember(child.name, process.pid)
        try:
            await self._watch(child, process)
        finally:
            await self._end(child, process)
            status.pid, status.last_exit = None, process.returncode
            self._alive.pop(child.name, None)
            self._save()

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        trim(child.log, self._log_bytes)
        output: IO[bytes]
        with open_log(child.log) as output:
            return await asyncio.create_subprocess_exec(
                # By file, isolated and without site: the leash costs milliseconds and reads no foreign code.
                *(
                    sys.executable,
                    "-I",
                    "-S",
                    leash.__file__,
                    "--parent",
                    str(os.getpid()),
                    "--",
                    *child.argv,
                ),
                env=dict(child.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=child.pass_fds,
                start_new_session=True,
            )

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Returns when the child ended by itself, must stop, or did not come up in time."""
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stop[child.name].wait())
        up = asyncio.create_task(self._until_up(child))
        try:
            done, _ = await asyncio.wait({ended, stopping, up}, return_when=asyncio.FIRST_COMPLETED)
            if not done & {ended, stopping} and up.result():
                await self._change(self.status[child.name], "up")
                await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ended, stopping, up):
                task.cancel()
            await asyncio.gather(ended, stopping, up, return_exceptions=True)

    async def _until_up(self, child: Child) -> bool:
        """False when `start_timeout` passed first."""
        if child.ready is None:
            return True
        try:
            async with asyncio.timeout(child.start_timeout):
                while not await self._answers(child.ready):  # noqa: ASYNC110 - another process has no Event
                    await asyncio.sleep(READY_POLL)
        except TimeoutError:
            log.warning("child %s did not answer within %.0f s of its start", child.name, child.start_timeout)
            return False
        return True

    @staticmethod
    async def _answers(probe: Probe) -> bool:
        try:
            return await probe()
        except OSError:
            return False

    async def _end(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """SIGTERM to the leader, who knows its children, then to the group; SIGKILL for all that stays."""
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), child.stop_timeout)
        if process.returncode is None:
            log.warning("child %s did not stop within %.0f s; killed", child.name, child.stop_timeout)
            processes.send(process.pid, signal.SIGKILL)
            await process.wait()
        if not await processes.end_group(process.pid, GROUP_GRACE):
            log.error("processes of child %s could not be ended", child.name, extra={"pgid": process.pid})

    # bookkeeping ---------------------------------------------------------------------------------
    async def _change(self, status: Status, state: State) -> None:
        async with self._changed:
            status.state = state
            self._changed.notify_all()

    def _remember(self, name: str, pid: int) -> None:
        item = processes.record(name, pid)
        if item is not None:
            self._alive[name] = item
            self._save()

    def _save(self) -> None:
        try:
            processes.save(self._records, self._alive.values())
        except OSError as error:
            # A full disk must not stop the children; it only costs the clean-up after a crash.
            log.warning("%s cannot be written: %s", self._records, error)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_POLL)
            for child in self._children.values():
                await asyncio.to_thread(trim, child.log, self._log_bytes)
