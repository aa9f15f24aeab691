"""The quickstart against a stand-in server: the first run, the second one, and when things break."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import quickstart
import quickstart_knowledge as knowledge
import quickstart_server as servers
import quickstart_view as view
from fake_tensoras import State, serve
from hypothesis import given
from hypothesis import strategies as st
from quickstart_server import QuickstartError, Running, Server
from rich.console import Console

KEY = "tns_test_key_0123456789"
FAKE = Path(__file__).parent / "fake_tensoras.py"


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUICKSTART_PORT", "TENSORAS_BOOTSTRAP_KEY", "FAKE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a proxy of the environment must not be asked
    for module in (servers, knowledge):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(quickstart, "ENGINE_POLL_SECONDS", 0.01)
    monkeypatch.setattr(servers, "command", lambda: [sys.executable, str(FAKE)])


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose server, if one was started, is gone afterwards."""
    yield tmp_path
    state = servers.read_state(tmp_path)
    servers.stop(tmp_path)
    assert state is None or state.process() is None
    for child in servers._started:
        child.wait()
    servers._started.clear()


class Live:
    """A stand-in in this process, whose memory the test can look into."""

    def __init__(self, folder: Path, fake: str = "") -> None:
        self.state = State(KEY, fake)
        self.http = serve(self.state, 0)
        self.server = Server(self.http.server_address[1], KEY, folder)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Live:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def run_against(live: Live, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "running_server", lambda _folder, _console: live.server)
    quickstart.run(console)


# the whole story ---------------------------------------------------------------------------------------
def test_first_run_uploads_ingests_asks_and_says_goodbye(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Live(tmp_path) as live:
        run_against(live, console, monkeypatch)
    text = said(console)
    assert {file["filename"] for file in live.state.files} == {path.name for path in knowledge.documents()}
    assert "15 files uploaded, 0 were there already." in text
    assert "15 documents can be asked." in text
    assert text.count("They are kept for 45 days [1].") == 3
    assert "[1] passenger-charter.pdf, page 2" in text
    assert "“kept for 45 days” · exact: word for word in the document" in text
    assert live.server.base_url in text
    assert KEY in text
    assert "make stop" in text
    assert "\x1b[" not in text


def test_the_three_questions_go_to_the_right_models(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Live(tmp_path) as live:
        run_against(live, console, monkeypatch)
    asked = [body for body in live.state.asked if body.get("knowledge_bases") == ["kb_0"]]
    assert [(body["model"], body.get("stream", False)) for body in asked] == [
        ("extractive", False),
        ("smollm2-135m-instruct", True),
        ("extractive", False),
    ]


def test_second_run_uploads_and_ingests_nothing(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Live(tmp_path) as live:
        run_against(live, console, monkeypatch)
        before = len(live.state.files), len(live.state.jobs), len(live.state.bases)
        run_against(live, console, monkeypatch)
    assert (len(live.state.files), len(live.state.jobs), len(live.state.bases)) == before == (15, 1, 1)
    assert "0 files uploaded, 15 were there already." in said(console)


def test_a_changed_document_is_uploaded_again(tmp_path: Path, console: Console) -> None:
    path = tmp_path / "notes.txt"
    with Live(tmp_path) as live:
        client = quickstart.connect(live.server)
        for body in ("first", "second", "second"):
            path.write_text(body)
            knowledge.upload(client, [path], console)
    assert [file["bytes"] for file in live.state.files] == [5, 6]


def test_what_is_asked_is_among_the_questions_with_known_answers() -> None:
    lines = (knowledge.DOCUMENTS / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    known = {question["question"] for question in map(json.loads, lines) if question["file"]}
    assert {question for _, question in quickstart.QUESTIONS} <= known


def test_the_questions_are_not_uploaded() -> None:
    names = {path.name for path in knowledge.documents()}
    assert len(names) == 15
    assert "questions.jsonl" not in names


def test_without_the_engine_it_says_so_and_asks_the_extractive_model(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Live(tmp_path, "no-engine") as live:
        run_against(live, console, monkeypatch)
    assert {body["model"] for body in live.state.asked} == {"extractive"}
    assert "`make engine` installs it" in said(console)


def test_an_answer_without_support_says_so(tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    with Live(tmp_path, "uncited") as live:
        run_against(live, console, monkeypatch)
    assert said(console).count("No passage supports this answer") == 3


# what breaks -------------------------------------------------------------------------------------------
def test_a_failed_document_is_named_with_its_reason(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Live(tmp_path, "bad-document") as live,
        pytest.raises(QuickstartError, match="1 documents could not be read"),
    ):
        run_against(live, console, monkeypatch)
    assert "whimbrel-maintenance-plan.docx: It is damaged [page 3]." in said(console)


def test_a_failed_job_brings_its_reason(tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    with Live(tmp_path, "bad-job") as live, pytest.raises(QuickstartError, match="The vector store is full"):
        run_against(live, console, monkeypatch)


def test_a_job_that_never_ends_is_given_up(tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "INGEST_SECONDS", -1.0)
    with Live(tmp_path) as live, pytest.raises(QuickstartError, match="goes on where this one stopped"):
        run_against(live, console, monkeypatch)


def test_an_engine_that_never_comes_up_is_given_up(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "ENGINE_SECONDS", -1.0)
    with Live(tmp_path) as live, pytest.raises(QuickstartError, match="not up yet"):
        run_against(live, console, monkeypatch)


def test_a_server_that_is_never_ready_is_given_up_and_named(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "READY_SECONDS", -1.0)
    with (
        Live(tmp_path, "never-ready") as live,
        pytest.raises(QuickstartError, match="opening the collection"),
    ):
        run_against(live, console, monkeypatch)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (QuickstartError("Do this."), 1, "Do this."),
        (PermissionError(13, "Permission denied", "/data"), 1, "A file cannot be used"),
        (KeyboardInterrupt(), 130, "`make stop` ends it"),
    ],
)
def test_main_turns_a_failure_into_one_sentence_and_a_code(
    error: BaseException,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_: Console) -> None:
        raise error

    monkeypatch.setattr(quickstart, "run", broken)
    assert quickstart.main() == code
    assert sentence in capsys.readouterr().out


connect = quickstart.connect


def test_main_reports_a_refused_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Live(tmp_path) as live:
        monkeypatch.setattr(quickstart, "running_server", lambda _folder, _console: live.server)
        monkeypatch.setattr(quickstart, "connect", lambda server: connect(replace(server, key="tns_wrong")))
        assert quickstart.main() == 1
    assert "refused a request with status 401: wrong key" in capsys.readouterr().out


def test_main_says_where_to_look_when_the_server_goes_away(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Server(free_port, KEY, tmp_path)
    monkeypatch.setattr(quickstart, "running_server", lambda _folder, _console: gone)
    monkeypatch.setattr(quickstart, "wait_until_ready", lambda _server, _console: None)
    monkeypatch.setattr(quickstart, "connect", lambda server: connect(server).with_options(max_retries=0))
    assert quickstart.main() == 1
    assert "serve.log" in capsys.readouterr().out


# starting and stopping ---------------------------------------------------------------------------------
def test_start_reuse_and_stop(folder: Path, console: Console, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTART_PORT", str(free_port))
    first = servers.running_server(folder, console)
    state = servers.read_state(folder)
    assert state is not None
    assert os.getsid(state.pid) == state.pid  # a session of its own: closing the terminal does not end it
    monkeypatch.delenv("QUICKSTART_PORT")
    assert servers.running_server(folder, console) == first  # found again without being told the port
    assert servers.read_state(folder) == state
    assert "already running" in said(console)
    assert "has stopped" in servers.stop(folder)
    assert state.process() is None
    assert servers.who_answers(first) == "nobody"


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(
    folder: Path, console: Console, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICKSTART_PORT", str(free_port))
    monkeypatch.setenv("FAKE", "dies")
    with pytest.raises(QuickstartError, match=r"from a newer version \[v9\]"):
        servers.running_server(folder, console)
    assert servers.read_state(folder) is None


def test_a_taken_port_is_named_with_the_fix(folder: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    with Live(folder) as live:  # its key is not the one of this folder
        monkeypatch.setenv("QUICKSTART_PORT", str(live.server.port))
        with pytest.raises(QuickstartError, match=f"QUICKSTART_PORT={live.server.port + 1}"):
            servers.running_server(folder, console)
    assert servers.read_state(folder) is None


def test_a_listener_that_speaks_no_http_counts_as_another(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail ready\r\n")
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert servers.who_answers(Server(port, KEY, tmp_path)) == "another"
        thread.join()


def test_a_foreign_server_that_shows_itself_only_when_it_is_ready(folder: Path, console: Console) -> None:
    with Live(folder, "slow-start") as live:
        server = Server(live.server.port, "tns_another_key_0123", folder)
        assert servers.who_answers(server) == "us"  # it cannot tell yet
        with pytest.raises(QuickstartError, match="with another key"):
            servers.wait_until_ready(server, console)


def test_our_own_server_with_another_key_is_to_be_stopped(folder: Path, console: Console) -> None:
    with Live(folder) as live:
        us = psutil.Process()
        servers.write_state(folder, Running(us.pid, us.create_time(), live.server.port))
        with pytest.raises(QuickstartError, match="`make stop`, then"):
            servers.running_server(folder, console)
    servers.forget_state(folder)


def test_a_server_of_this_folder_on_another_port_is_not_started_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUICKSTART_PORT", "8001")
    with pytest.raises(QuickstartError, match="runs on port 8000 already"):
        servers.choose_port(Running(1, 0.0, 8000))


@pytest.mark.parametrize("value", ["x", "0", "65536", "-1", "8000 "])
def test_a_port_that_is_no_port_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUICKSTART_PORT", value)
    with pytest.raises(QuickstartError, match="from 1 to 65535"):
        servers.choose_port(None)


def test_stop_ends_a_server_that_was_started_by_hand(folder: Path) -> None:
    code = (
        "import fcntl, os, sys, time\n"
        "file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print(os.getpid(), file=file, flush=True); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder / "server.lock")], stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert servers.stop(folder) == f"The server (process {child.pid}) has stopped."
        assert not psutil.pid_exists(child.pid)


def test_stop_leaves_a_process_alone_that_only_has_the_same_number(folder: Path) -> None:
    servers.write_state(folder, Running(os.getpid(), psutil.Process().create_time() - 100, 8000))
    assert servers.stop(folder) == "No server is running on this folder."
    assert servers.read_state(folder) is None


def test_stop_with_an_old_lock_file_ends_nobody(folder: Path) -> None:
    (folder / "server.lock").write_text(f"{os.getpid()}\n")
    assert servers.stop(folder) == "No server is running on this folder."


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x", "started": 1, "port": 2}', "null"])
def test_a_damaged_note_counts_as_none(text: str, tmp_path: Path) -> None:
    servers.state_file(tmp_path).write_text(text)
    assert servers.read_state(tmp_path) is None


# the key -----------------------------------------------------------------------------------------------
def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = servers.admin_key(tmp_path)
    assert key.startswith("tns_")
    assert len(key) > 40
    assert servers.admin_key(tmp_path) == key
    assert (tmp_path / "bootstrap.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["bootstrap.key"]


def test_a_key_file_that_others_may_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.key"
    path.write_text(KEY)
    path.chmod(0o644)
    assert servers.admin_key(tmp_path) == KEY
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_given_key_is_used_and_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORAS_BOOTSTRAP_KEY", KEY)
    assert servers.admin_key(tmp_path) == KEY
    assert list(tmp_path.iterdir()) == []


# reports and printing ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "report", "waiting"),
    [
        (200, {"status": "ready", "checks": {"database": "ok"}}, {}),
        (503, {"checks": {"database": "ok", "models": "loading"}}, {"models": "loading"}),
        (503, {"checks": {"a": "ok"}}, {"server": "starting (status 503)"}),
        (503, {"checks": "odd"}, {"server": "starting (status 503)"}),
        (503, {}, {"server": "starting (status 503)"}),
        (503, ["odd"], {"server": "starting (status 503)"}),
        (404, None, {"server": "starting (status 404)"}),
    ],
)
def test_unready_reads_any_report(status: int, report: Any, waiting: dict[str, str]) -> None:
    assert servers.unready(status, report) == waiting


def test_no_answer_from_ready_is_not_readiness(tmp_path: Path, free_port: int) -> None:
    assert servers.missing_parts(Server(free_port, KEY, tmp_path)) == {"server": "no answer (ConnectError)"}


def test_the_end_of_the_log_is_short_and_survives_bad_bytes(tmp_path: Path) -> None:
    log = servers.log_file(tmp_path)
    assert servers.log_tail(tmp_path) == "(the log is empty)"
    log.parent.mkdir()
    log.write_bytes(b"x" * 100_000 + b"\n" + b"\n".join(b"line %d \xff" % n for n in range(40)))
    assert servers.log_tail(tmp_path, 2) == "line 38 �\nline 39 �"


def test_brackets_in_answers_and_quotes_are_not_markup(console: Console) -> None:
    view.show_words(console, "See [red]this[/red] and [1].")
    span = {"quote": "a [bold]\n  quote", "page": None, "verification": "unverified"}
    view.show_citations(console, [{"index": 1, "source": "[x].txt", "page": None, "cited": True, "spans": [span]}])
    text = said(console)
    assert "See [red]this[/red] and [1]." in text
    assert "[1] [x].txt\n" in text
    assert "“a [bold] quote” · unverified: the nearest words, not proof of the sentence" in text


@given(st.text())
def test_nothing_that_is_printed_steers_the_terminal(words: str) -> None:
    shown = view.printable(words)
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown)
    assert not any(0x7F <= ord(c) < 0xA0 for c in shown)
    assert [c for c in shown if c.isalnum()] == [c for c in words if c.isalnum()]


def test_an_escape_sequence_in_a_document_is_harmless(console: Console) -> None:
    span = {"quote": "a\x1b]0;owned\x07b", "page": None, "verification": "exact"}
    citation = {"index": 1, "source": "x\x1b[2J.txt", "page": None, "cited": True, "spans": [span]}
    view.show_words(console, "see \x1b[31mred")
    view.show_citations(console, [citation])
    assert "\x1b" not in said(console)
    assert "\x07" not in said(console)


@pytest.mark.parametrize(
    ("page", "span_pages", "line"),
    [
        (3, [3, 4], "[2] a.pdf, page 3 and 4"),
        (3, [4], "[2] a.pdf, page 4"),
        (3, [], "[2] a.pdf, page 3"),
        (None, [None], "[2] a.pdf"),
    ],
)
def test_the_page_is_the_one_that_was_quoted(page: int | None, span_pages: list[int | None], line: str) -> None:
    spans = [{"page": span_page} for span_page in span_pages]
    citation = {"index": 2, "source": "a.pdf", "page": page, "spans": spans}
    assert view.source_line(citation).plain == line


def test_a_citation_without_a_quote_says_so() -> None:
    assert "(no quote)" in view.quote_line({"quote": None, "verification": "unverified"}).plain


def test_the_snippets_of_the_farewell_are_valid(console: Console, tmp_path: Path) -> None:
    view.farewell(console, Server(8000, KEY, tmp_path), "kb_1")
    text = said(console)
    body = text.split("-d '")[1].split("'\n")[0]
    assert json.loads(body)["knowledge_bases"] == ["kb_1"]
    compile(text[text.index("from openai") :], "snippet", "exec")


def test_the_examples_know_nothing_of_the_server_but_its_api() -> None:
    for path in Path(quickstart.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not any(
            f"{word} {name}" in source for word in ("import", "from") for name in ("rag", "ingestion.", "serving")
        )
