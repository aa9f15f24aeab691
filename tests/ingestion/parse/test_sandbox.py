import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingestion.parse import sandbox
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.sandbox import ParserPool
from rag.errors import DocumentError, Unavailable
from tests.ingestion.parse.builders import CORPUS, Maker

ROOT = Path(__file__).resolve().parents[3]
# The HTML parser's work grows with the square of the depth, so this really takes minutes.
ENDLESS = "<html>" + "<div>" * 400_000


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    pool = ParserPool(ocr=False)
    yield pool
    await pool.close()


async def code(pool: ParserPool, path: Path, name: str = "x") -> str:
    with pytest.raises(DocumentError) as refused:
        await pool.parse(path, name)
    assert refused.value.message.endswith(".")
    return refused.value.code


def pids(pool: ParserPool) -> set[int]:
    return {child.process.pid for child in pool._children}


async def busy(pool: ParserPool) -> int:
    """The process id of the one child, as soon as it has taken a document."""
    while True:
        for child in pool._children:
            if child.documents and child.fresh:
                return child.process.pid
        await asyncio.sleep(0.01)


async def test_documents_and_refusals_come_through(pool: ParserPool) -> None:
    document = await pool.parse(CORPUS / "powerpoint_sample.pptx", "a.pptx")
    assert isinstance(document, ParsedDocument)
    assert "A rectangle shape with this text inside." in document.text
    assert await code(pool, CORPUS / "r4-aes-user-password.pdf") == "needs_password"
    assert await code(pool, CORPUS / "made_zipbomb_700MB.docx") == "too_large"
    assert len(pids(pool)) == 1


async def test_a_large_result_arrives_whole(pool: ParserPool) -> None:
    document = await pool.parse(CORPUS / "book-war-and-peace-1225p.txt", "a.txt")
    assert len(document.text) > 3_000_000
    assert "man in a white hat were seen coming toward the officers." in document.text


async def test_a_hang_costs_one_document(make: Maker) -> None:
    pool = ParserPool(timeout=1, ocr=False)
    try:
        await pool.start()
        before = pids(pool)
        assert await code(pool, make("a.html", ENDLESS)) == "parse_timeout"
        assert (await pool.parse(make("b.txt", "still alive"), "b.txt")).text == "still alive"
        assert not before & pids(pool)
    finally:
        await pool.close()


async def test_processor_time_is_bounded(make: Maker) -> None:
    pool = ParserPool(cpu_seconds=1, ocr=False)
    try:
        assert await code(pool, make("a.html", ENDLESS)) == "parse_timeout"
        assert (await pool.parse(make("b.txt", "still alive"), "b.txt")).text == "still alive"
    finally:
        await pool.close()


async def test_killed_in_the_middle(pool: ParserPool, make: Maker) -> None:
    parsing = asyncio.create_task(code(pool, make("a.html", ENDLESS)))
    os.kill(await busy(pool), signal.SIGKILL)
    assert await parsing == "parse_crashed"
    assert (await pool.parse(make("b.txt", "next"), "b.txt")).text == "next"


async def test_killed_while_idle_blames_no_document(pool: ParserPool, make: Maker) -> None:
    await pool.start()
    os.kill(next(iter(pids(pool))), signal.SIGKILL)
    assert (await pool.parse(make("b.txt", "unharmed"), "b.txt")).text == "unharmed"


async def test_memory_is_bounded(make: Maker) -> None:
    pool = ParserPool(memory_bytes=160_000_000, ocr=False)
    try:
        assert await code(pool, make("a.txt", "word " * 8_000_000), "a.txt") == "parse_out_of_memory"
        assert (await pool.parse(make("b.txt", "next"), "b.txt")).text == "next"
    finally:
        await pool.close()


async def test_cancelling_frees_the_slot(pool: ParserPool, make: Maker) -> None:
    parsing = asyncio.create_task(pool.parse(make("a.html", ENDLESS), "a.html"))
    await busy(pool)
    parsing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parsing
    assert (await pool.parse(make("b.txt", "next"), "b.txt")).text == "next"


async def test_many_at_once_over_two_processes(make: Maker) -> None:
    pool = ParserPool(size=2, ocr=False)
    try:
        paths = [make(f"{at}.txt", f"text {at}") for at in range(20)]
        documents = await asyncio.gather(*(pool.parse(path, path.name) for path in paths))
        assert [document.text for document in documents] == [f"text {at}" for at in range(20)]
        assert len(pids(pool)) == 2
    finally:
        await pool.close()


async def test_processes_retire(pool: ParserPool, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "DOCUMENTS_PER_PROCESS", 2)
    path = make("a.txt", "words")
    await pool.parse(path, "a")
    first = pids(pool)
    await pool.parse(path, "a")
    await pool.parse(path, "a")
    assert not first & pids(pool)


async def test_a_missing_file_is_the_callers_fault(pool: ParserPool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await pool.parse(tmp_path / "gone", "gone")


async def test_closing_blames_no_document(make: Maker) -> None:
    pool = ParserPool(ocr=False)
    path = make("a.html", ENDLESS)
    parsing = asyncio.create_task(pool.parse(path, "a.html"))
    pid = await busy(pool)
    await pool.close()
    with pytest.raises(Unavailable):
        await parsing
    with pytest.raises(Unavailable):
        await pool.parse(path, "a.html")
    await pool.close()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_child_that_cannot_start_is_unavailable(monkeypatch: pytest.MonkeyPatch, make: Maker) -> None:
    monkeypatch.setattr(sandbox, "_MODULE", "no_such_module")
    pool = ParserPool(ocr=False)
    with pytest.raises(Unavailable):
        await pool.parse(make("a.txt", "x"), "a.txt")
    monkeypatch.undo()
    assert (await pool.parse(make("a.txt", "x"), "a.txt")).text == "x"
    await pool.close()


async def test_the_environment_is_not_handed_on(pool: ParserPool, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    await pool.parse(make("a.txt", "x"), "a.txt")
    environment = Path(f"/proc/{next(iter(pids(pool)))}/environ").read_bytes()
    assert b"secret" not in environment
    assert b"PYTHONPATH" in environment


async def test_no_models_are_loaded(pool: ParserPool) -> None:
    for file in ("tracemonkey.pdf", "Strict.docx", "vodafone.xlsx", "wiki.md", "factbook.xml"):
        await pool.parse(CORPUS / file, file)
    loaded = Path(f"/proc/{next(iter(pids(pool)))}/maps").read_text()
    assert "pdfium" in loaded
    assert not [name for name in ("torch", "numpy", "spacy", "onnx") if name in loaded]


def test_the_child_imports_no_models() -> None:
    check = """
        import sys
        import ingestion.parse.child
        from ingestion.parse import registry
        for content_type in registry.supported_types():
            registry._parser(content_type)
        print([name for name in ("torch", "sentence_transformers", "spacy", "asyncio") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(check)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_the_jail_holds(pool: ParserPool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ingestion.parse.sandbox"):
        await pool.start()
    pid = next(iter(pids(pool)))
    status = Path(f"/proc/{pid}/status").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")] == ["0"]
    assert "1500000000" in limits
    assert '"system_calls":true' in caplog.text


def jailed(body: str, *, programs: bool = False) -> str:
    """Runs code inside the jail and returns what it printed."""
    script = (
        "import ctypes, errno, os, socket, subprocess, sys\nfrom ingestion.parse import jail\n"
        f"jail.enter(jail.Limits(10**9, 5, 1, {programs}), os.getppid())\n" + textwrap.dedent(body)
    )
    done = subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ATTEMPT = """
    def attempt(call):
        try:
            call()
        except OSError:
            return "refused"
        return "ALLOWED"
"""


@pytest.mark.parametrize(
    "call",
    [
        "lambda: socket.socket()",
        "lambda: socket.create_connection(('127.0.0.1', 9))",
        "lambda: subprocess.run(['true'])",
        "lambda: os.system('true')",
        "lambda: os.execv('/bin/true', ['true'])",
        "lambda: os.kill(os.getppid(), 0)",
        "lambda: open('/proc/self/mem', 'r+b')",
        "lambda: open('/dev/null', 'wb')",
        "lambda: os.unlink('/nonexistent-file')",
        "lambda: os.mkdir('/nonexistent/x')",
    ],
)
def test_what_a_parser_may_not_do(call: str) -> None:
    assert jailed(ATTEMPT + f"\n    print(attempt({call}))") == "refused"


@pytest.mark.parametrize(
    "number", ["{'x86_64': 41, 'aarch64': 198}", "{'x86_64': 425, 'aarch64': 425}", "{'x86_64': 101, 'aarch64': 117}"]
)
def test_raw_system_calls_are_refused_without_python(number: str) -> None:
    """socket, io_uring_setup and ptrace, called as foreign machine code would."""
    body = f"""
        import platform
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall({number}[platform.machine()], 2, 1, 0)
        print(result, ctypes.get_errno() == errno.EPERM)
    """
    assert jailed(body) == "-1 True"


def test_reading_still_works_in_the_jail() -> None:
    assert jailed("print(len(open('/etc/passwd', 'rb').read()) > 0)") == "True"


def test_no_orphan_survives_its_parent(make: Maker) -> None:
    """The parent is killed with -9 while its child works; the kernel takes the child along."""
    path = make("a.html", ENDLESS)
    script = textwrap.dedent(f"""
        import asyncio, pathlib
        from ingestion.parse.sandbox import ParserPool
        async def main():
            pool = ParserPool(ocr=False)
            await pool.start()
            task = asyncio.create_task(pool.parse(pathlib.Path({str(path)!r}), "a.html"))
            child = next(iter(pool._children))
            while not child.documents:
                await asyncio.sleep(0.01)
            print(child.process.pid, flush=True)
            await task
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        child = os.pidfd_open(pid)
        parent.kill()
        # The pidfd becomes readable when the process has ended.
        import select

        assert select.select([child], [], [], 30)[0]
        os.close(child)
