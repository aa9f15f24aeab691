"""Files: byte for byte, bounded, tidy after every failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import InvalidRequest, Unavailable
from serving.errors import TooLarge
from serving.multipart import Form
from serving.routes.files import disposition
from tests.serving.conftest import House

B = "XbX"
HEADER = f"multipart/form-data; boundary={B}"


def part(name: str, value: bytes, filename: str | None = None, extra: str = "") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    return f'--{B}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n{extra}\r\n'.encode() + value + b"\r\n"


END = f"--{B}--\r\n".encode()
PURPOSE = part("purpose", b"assistants")
GOOD = PURPOSE + part("file", b"hello", "a.txt") + END


async def send(house: House, body: bytes, content_type: str = HEADER) -> Any:
    return await house.http.post("/v1/files", content=body, headers={"Content-Type": content_type})


async def put(house: House, data: bytes = b"hello\n", name: str = "a.txt", purpose: Any = "assistants") -> Any:
    return await house.openai.files.create(file=(name, data), purpose=purpose)


async def test_the_object(house: House) -> None:
    made = (await send(house, GOOD)).json()
    assert made.pop("id").startswith("file-")
    assert made.pop("created_at") > 1_700_000_000
    assert made == {
        "object": "file",
        "bytes": 5,
        "filename": "a.txt",
        "purpose": "assistants",
        "status": "processed",
    }


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 33 + b"\r\n\n\r\x00end", b"\r\n--XbX", b"x" * 3_000_000])
async def test_round_trip(house: House, data: bytes) -> None:
    made = await put(house, data, "bin.dat")
    assert made.bytes == len(data)
    answer = await house.http.get(f"/v1/files/{made.id}/content")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "name", ["résumé 世界 (1).txt", "../../../../tmp/evil.txt", 'q"uote;.txt', "🦜.pdf", "a" * 255]
)
async def test_names_are_kept_and_harmless(house: House, name: str) -> None:
    made = await put(house, b"x", name)
    assert (await house.openai.files.retrieve(made.id)).filename == name.replace('"', "%22")
    answer = await house.http.get(f"/v1/files/{made.id}/content")
    assert answer.content == b"x"
    assert "/" not in answer.headers["content-disposition"].split(";")[1]
    assert [path.name for path in house.files_on_disk()] == [made.id]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_disposition_is_a_header(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (PURPOSE + END, "file", "missing_required_parameter"),
        (part("file", b"x", "a") + END, "purpose", "missing_required_parameter"),
        (part("purpose", b"nonsense") + part("file", b"x", "a") + END, "purpose", "invalid_value"),
        (part("file", b"x", "a") + part("purpose", b"nonsense") + END, "purpose", "invalid_value"),
        (part("file", b"x", "a") + PURPOSE + part("wibble", b"1") + END, "wibble", "unknown_parameter"),
        (PURPOSE + part("file", b"no name") + END, "file", "missing_required_parameter"),
        (PURPOSE + part("file", b"x", "") + END, "file", "invalid_value"),
        (PURPOSE + part("file", b"x", "a" * 513) + END, "file", "invalid_value"),
        (PURPOSE + part("file", b"x", "a\x00b") + END, "file", "invalid_value"),
        (PURPOSE + part("data", b"x", "a") + END, "file", "unknown_parameter"),
        (PURPOSE + part("file", b"x", "a") + part("file", b"y", "b") + END, "file", "invalid_value"),
        (PURPOSE + PURPOSE + part("file", b"x", "a") + END, "purpose", "invalid_value"),
        (part("purpose", b"a" * 5000) + part("file", b"x", "a") + END, "purpose", "invalid_value"),
        (PURPOSE + part("file", b"x", "a"), None, "invalid_multipart"),
        (
            PURPOSE + f'--{B}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncut'.encode(),
            None,
            "invalid_multipart",
        ),
        (b"", "file", "missing_required_parameter"),
        (b"garbage", None, "invalid_multipart"),
        (b"".join(part(f"f{n}", b"x") for n in range(50)) + END, None, "invalid_multipart"),
        (f"--{B}\r\n".encode() + b"X: " + b"y" * 100_000, None, "invalid_multipart"),
        (f"--{B}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + END, None, "invalid_multipart"),
    ],
)
async def test_bad_forms_leave_nothing(house: House, body: bytes, param: str | None, code: str) -> None:
    answer = await send(house, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    assert house.files_on_disk() == []
    assert (await house.http.get("/v1/files")).json()["data"] == []


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "", "multipart/form-data; boundary="])
async def test_what_is_not_a_form(house: House, kind: str) -> None:
    answer = await send(house, GOOD, kind)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_multipart"
    long = await send(house, GOOD, f"multipart/form-data; boundary={'b' * 5000}")
    assert long.json()["error"]["code"] == "invalid_multipart"


@pytest.mark.parametrize("declared", [True, False])
async def test_too_large_files(make_house: Any, declared: bool) -> None:
    house: House = await make_house(max_file_mb=1)
    body = PURPOSE + part("file", b"x" * (1024 * 1024 + 1), "big") + END
    pieces = _pieces(body, 65536)
    answer = await house.http.post("/v1/files", content=body if declared else pieces, headers={"Content-Type": HEADER})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "file_too_large"
    assert house.files_on_disk() == []
    fits = PURPOSE + part("file", b"x" * (1024 * 1024), "big") + END
    assert (await send(house, fits)).status_code == 200


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.booleans())
def test_any_slicing_gives_the_same_bytes(data: bytes, sizes: list[int], file_first: bool) -> None:
    if f"\r\n--{B}".encode() in b"\r\n" + data:
        return
    parts = [part("file", data, "ä.bin", "Content-Type: text/x-odd\r\n"), PURPOSE]
    body = b"".join(parts if file_first else parts[::-1]) + END

    async def slices() -> AsyncIterator[bytes]:
        at = n = 0
        while at < len(body):
            size = sizes[n % len(sizes)]
            yield body[at : at + size]
            at, n = at + size, n + 1

    async def read() -> tuple[Form, bytes]:
        form = Form(HEADER, slices(), max_file=1000)
        await form.open()
        got = b"".join([piece async for piece in form.file()])
        await form.close()
        return form, got

    form, got = asyncio.run(read())
    assert got == data
    assert (form.filename, form.content_type, form.fields) == (
        "ä.bin",
        "text/x-odd",
        {"purpose": "assistants"},
    )


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_rubbish_is_refused_and_nothing_else(rubbish: bytes, at: int) -> None:
    body = GOOD[:at] + rubbish + GOOD[at:]

    async def read() -> None:
        form = Form(HEADER, _pieces(body, 50), max_file=100)
        await form.open()
        if form.filename is not None:
            _ = [piece async for piece in form.file()]
        await form.close()

    with suppress(InvalidRequest, TooLarge):
        asyncio.run(read())


async def test_memory_stays_small() -> None:
    """The reader never holds more than the piece that came last."""
    total = 8_000_000
    head = part("file", b"", "a")[:-2]

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(total // 64_000):
            yield b"z" * 64_000
        yield b"\r\n" + END

    form = Form(HEADER, body(), max_file=total)
    await form.open()
    biggest = size = 0
    async for piece in form.file():
        biggest, size = max(biggest, len(piece)), size + len(piece)
    assert size == total
    assert biggest <= 64_100


async def test_list_and_pages(house: House) -> None:
    ids = [(await put(house, b"%d" % n, f"p{n}.txt", "batch" if n % 2 else "user_data")).id for n in range(5)]
    newest = (await house.http.get("/v1/files")).json()
    assert [one["id"] for one in newest["data"]] == ids[::-1]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (ids[4], ids[0], False)
    first = (await house.http.get("/v1/files?limit=2&order=asc")).json()
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:2], True)
    await house.http.delete(f"/v1/files/{ids[1]}")
    second = (await house.http.get(f"/v1/files?limit=2&order=asc&after={ids[1]}")).json()
    assert [one["id"] for one in second["data"]] == ids[2:4]
    before = (await house.http.get(f"/v1/files?limit=2&order=asc&before={ids[4]}")).json()
    assert ([one["id"] for one in before["data"]], before["has_more"]) == (ids[2:4], True)
    batch = [one.id async for one in house.openai.files.list(purpose="batch", limit=1)]
    assert batch == [ids[3]]
    assert (await house.http.get("/v1/files?limit=101")).status_code == 200
    assert (await house.http.get("/v1/files?after=nonsense")).status_code == 400


async def test_delete(house: House) -> None:
    made = await put(house)
    gone = await house.openai.files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    assert house.files_on_disk() == []
    for call in (house.openai.files.retrieve, house.openai.files.content, house.openai.files.delete):
        with pytest.raises(openai.NotFoundError) as missing:
            await call(made.id)
        assert missing.value.code == "file_not_found"


async def test_a_client_that_leaves_in_mid_upload(house: House) -> None:
    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": GOOD[:-20], "more_body": True}
        return {"type": "http.disconnect"}

    async def ignore(message: dict[str, Any]) -> None:
        sent.append(message)

    asked: list[bool] = []
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/files",
        "raw_path": b"",
        "root_path": "",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
        "headers": [
            (b"content-type", HEADER.encode()),
            (b"authorization", house.http.headers["authorization"].encode()),
        ],
    }
    await house.app(scope, receive, ignore)
    assert sent == []
    assert house.files_on_disk() == []
    assert (await house.http.get("/v1/files")).json()["data"] == []


async def test_a_row_that_cannot_be_written_takes_the_bytes_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_: Any) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(house.services.ledger.files, "add", fails)
    answer = await send(house, GOOD)
    assert answer.status_code == 503
    assert house.files_on_disk() == []


async def test_bytes_that_are_gone_are_not_an_empty_file(house: House) -> None:
    made = await put(house)
    for path in house.files_on_disk():
        path.unlink()
    answer = await house.http.get(f"/v1/files/{made.id}/content")
    assert answer.status_code >= 400
    assert json.loads(answer.text)["error"]["code"]
