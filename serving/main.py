"""`tensoras serve`: the composition root. Which parts are local is decided here and nowhere else.

The order: lock the data folder, bind the socket, answer `/health`, start the children, import the
application, build the services. On SIGTERM the same backwards: stop accepting, let requests end, close the
services, stop the children, release the folder. A second signal ends everything at once.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from pydantic_settings import BaseSettings

from ingestion import logs
from ingestion.settings import IngestionSettings
from rag.errors import ConfigurationError, TensorasError
from rag.settings import RagSettings
from serving import children
from serving.assemble import Configuration, Report, assembled
from serving.children import Part, Place
from serving.doorway import Doorway
from serving.engine import vllm
from serving.lock import prepare_data_dir, server_lock
from serving.settings import ServingSettings, reject_unknown_variables, variable_names
from serving.supervisor import Supervisor

if TYPE_CHECKING:
    from serving.services import Provider, Services

log = logging.getLogger(__name__)

ENGINE_DIR = "TENSORAS_ENGINE_DIR"
ENGINE_THREADS = "TENSORAS_ENGINE_THREADS"
SETTINGS: tuple[type[BaseSettings], ...] = (ServingSettings, RagSettings, IngestionSettings)
DRAIN_SECONDS = 5
BACKLOG = 2048

Assemble = Callable[[Configuration, Report], AbstractAsyncContextManager["Services"]]


def run(settings: ServingSettings, environment: Mapping[str, str] | None = None) -> int:
    """Serves until a signal comes; returns the exit code. Raises ConfigurationError before a start."""
    environment = dict(os.environ if environment is None else environment)
    reject_unknown_variables(environment, SETTINGS, also=(ENGINE_DIR, ENGINE_THREADS))
    logs.set_up(settings.log_level)
    data = prepare_data_dir(settings.data_dir)
    settings = settings.model_copy(update={"data_dir": data})
    place = Place(data, environment)
    with server_lock(data), bound(settings.host, settings.port) as listener, local(place) as parts:
        configuration = configured(settings, parts.settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(Run(configuration, parts.parts, listener).until_stopped())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: streams of many small chunks cost half."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


# which parts are local ---------------------------------------------------------------------------
@dataclass
class Local:
    """The local parts, and the settings that lead to every part, local or not."""

    parts: list[Part] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.settings |= part.settings


@contextmanager
def local(place: Place) -> Iterator[Local]:
    """A local part for each URL that is not set. Their sockets are closed at the end."""
    given = {name: value for name, value in place.inherited.items() if value}
    found = Local()
    try:
        # What is given wins, but for the folder, which is absolute by now.
        found.settings |= {**children.storage(place), **_only(given, ("DATABASE_URL", "BLOB_URL"))}
        if "QDRANT_URL" in given:
            found.settings |= _only(given, ("QDRANT_URL", "QDRANT_API_KEY"))
        else:
            found.add(children.vectord(place))
        _local_engine(place, given, found)
        if "BROKER_URL" in given:
            found.settings |= _only(given, ("BROKER_URL",))
        else:
            found.settings |= children.broker(place)
            found.add(children.worker(place, found.settings))
        yield found
    finally:
        for part in found.parts:
            part.close()


def _local_engine(place: Place, given: Mapping[str, str], found: Local) -> None:
    if "ENGINES" in given:
        found.settings |= _only(given, ("ENGINES",))
        return
    installed = vllm.Engine(Path(given.get(ENGINE_DIR, ".engine")).absolute())
    missing = installed.missing()
    if missing is None:
        found.add(children.engine(place, installed, engine_threads(given)))
    else:
        log.info("no chat engine: %s; run `make engine`, or set ENGINES", missing)


def engine_threads(given: Mapping[str, str]) -> int:
    """TENSORAS_ENGINE_THREADS, or half of the cores."""
    wanted = given.get(ENGINE_THREADS)
    if wanted is None:
        return vllm.threads_for(vllm.usable_cores())
    if not wanted.isdecimal() or not 1 <= int(wanted) <= 1024:
        raise ConfigurationError(f"{ENGINE_THREADS} is {wanted!r}; give a number from 1 to 1024, or unset it")
    return int(wanted)


def _only(values: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: values[name] for name in names if name in values}


def configured(settings: ServingSettings, values: Mapping[str, str]) -> Configuration:
    """The settings of all parts; `values` go before the environment."""
    return Configuration(settings, _read(RagSettings, values), _read(IngestionSettings, values))


def _read(kind: Any, values: Mapping[str, str]) -> Any:
    chosen: dict[str, Any] = _only(values, tuple(variable_names(kind)))
    if "ENGINES" in chosen:
        chosen["ENGINES"] = _engines(chosen["ENGINES"])
    return kind(**chosen)


def _engines(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigurationError('ENGINES is not JSON; write {"model name": "http://host:port/v1"}') from None


# the socket --------------------------------------------------------------------------------------
@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, so that the first request may come before the server is ready to read it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except PermissionError:
        raise ConfigurationError(f"port {port} needs privileges; choose a --port above 1023") from None
    except socket.gaierror:
        raise ConfigurationError(f"the host {host!r} is unknown; choose another --host") from None
    except OSError as error:
        reason = "is taken by another program" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
        raise ConfigurationError(
            f"cannot listen on {host}, port {port}: it {reason}; choose another --host or --port"
        ) from None
    with listener:
        yield listener


def base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - how to reach "everywhere"
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handling: the composition root decides what ends, and in which order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(app: Doorway) -> HttpServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return HttpServer(config)


# the run -----------------------------------------------------------------------------------------
class Run:
    """One server from its first answer to its last."""

    def __init__(
        self,
        configuration: Configuration,
        parts: list[Part],
        listener: socket.socket,
        *,
        assemble: Assemble = assembled,
    ) -> None:
        self._configuration = configuration
        self._listener = listener
        self._assemble = assemble
        self._supervisor = Supervisor([part.child for part in parts], run_dir=configuration.serving.data_dir / "run")
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._loading = False

    async def until_stopped(self) -> int:
        """0 after a signal, 1 after a failure, which has been told on standard error."""
        http = http_server(door := Doorway())
        with self._signals():
            serving = asyncio.create_task(http.serve(sockets=[self._listener]), name="http")
            tell(f"tensoras serves on {base_url(self._listener)}")
            # The engine computes for half a minute: first the models that /ready waits for.
            await self._supervisor.start(later=("engine",))
            building = asyncio.create_task(self._build(door), name="build")
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            await asyncio.wait({serving, building, stopping}, return_when=asyncio.FIRST_COMPLETED)
            asked = self._stopping.is_set()
            stopping.cancel()
            http.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving
            failure = await self._finish(building)
            await self._supervisor.stop()
        return self._leave(0 if asked and failure is None else 1, failure)

    async def _build(self, door: Doorway) -> None:
        """The application, then its services; they stay open until the last request has ended."""
        self._loading = True
        create_app, make_provider = await asyncio.to_thread(_import_app)
        provider: Provider = make_provider(self._configuration.serving)
        door.open(create_app(provider))

        def phase(text: str) -> None:
            provider.phase = text

        report = Report(phase, tell_key, self._readiness)
        async with self._assemble(self._configuration, report) as services:
            self._loading = False
            provider.set(services)
            self._supervisor.start_later()
            log.info("the server is ready")
            await self._drained.wait()
            provider.unset("the server is stopping")

    async def _finish(self, building: asyncio.Task[None]) -> BaseException | None:
        """Closes the services; returns what went wrong with them."""
        self._drained.set()
        if self._loading:
            building.cancel()
        (outcome,) = await asyncio.gather(building, return_exceptions=True)
        return None if isinstance(outcome, asyncio.CancelledError) else outcome

    def _leave(self, code: int, failure: BaseException | None) -> int:
        if isinstance(failure, TensorasError):
            sys.stderr.write(f"{failure.message}\n")
        elif failure is not None:
            log.critical("the server stops because of an error", exc_info=failure)
        if self._loading:
            # A thread may still read weights, for minutes. Everything is closed: do not wait for it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code

    def _readiness(self) -> dict[str, str]:
        """States of the children for /ready, under the names that it uses."""
        names = {"engine": f"model:{vllm.MODEL}"}
        states = {
            names.get(name, name): "ok" if sentence == "up" else sentence
            for name, sentence in self._supervisor.readiness().items()
            if name != "vectord"  # seen through the vector store's own probe
        }
        return {"embedding_model": "ok", **states}

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        wanted = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means: go on without a terminal
            wanted.append(signal.SIGHUP)
        for number in wanted:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._supervisor.kill()
            os._exit(1)
        log.info("the server is stopping")
        self._stopping.set()


def _import_app() -> tuple[Any, Any]:
    from serving.app import create_app
    from serving.services import Provider

    return create_app, Provider


def tell(text: str) -> None:
    """News for the person who started the server, not for the log."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell_key(key: str) -> None:
    tell(f"API key: {key}\nIt is shown this once and not stored; keep it.")
