"""Files that cannot be ingested end `failed` with a code; everything else goes on as if they were not there."""

from __future__ import annotations

import io
import zipfile

import httpx
import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import ROOT

CORPUS = ROOT.parent / "shared" / "corpora" / "documents"
GOOD = b"The harbour master answers on channel 12."


def zip_bomb(megabytes: int = 700) -> bytes:
    """A document of a few hundred kilobytes that unpacks to `megabytes`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as entry:
            block = b"\0" * 2**20
            for _ in range(megabytes):
                entry.write(block)
    return packed.getvalue()


def test_each_bad_file_fails_by_name_and_the_job_completes_with_the_others(api: Api) -> None:
    bad = {
        "secret.pdf": ((CORPUS / "2206.01062_pg3.pdf").read_bytes(), {"needs_password"}),
        "blank.pdf": ((CORPUS / "blank.pdf").read_bytes(), {"empty_document"}),
        "broken.xlsx": ((CORPUS / "xlsx-corrupted.xlsx").read_bytes(), {"corrupt_document"}),
        "empty.txt": (b"", {"empty_document"}),
        "spaces.md": (b" \n\t\n", {"empty_document"}),
        "noise.pdf": (bytes(range(256)) * 64, {"unsupported_document", "corrupt_document"}),
        "cut.docx": (zip_bomb(1)[:200], {"corrupt_document"}),
        "bomb.docx": (zip_bomb(), {"too_large"}),
    }
    fine = {
        "good.txt": GOOD,
        "really-text.pdf": GOOD + b" It is text.",
        "really.html.txt": b"<p>Mooring is free.</p>",
    }
    kb = api.knowledge_base("Bad input")
    files = [api.upload(name, data) for name, (data, _) in bad.items()]
    files += [api.upload(name, data) for name, data in fine.items()]
    ended = api.wait_for_job(kb, api.ingest(kb, files))
    assert ended["status"] == "completed"
    assert (ended["documents_failed"], ended["documents_total"]) == (len(bad), len(bad) + len(fine))
    documents = api.documents(kb)
    for name, (_, codes) in bad.items():
        error = documents[name]["error"]
        assert documents[name]["status"] == "failed", name
        assert error["code"] in codes, (name, error)
        assert error["message"].endswith((".", "first", "again")) or len(error["message"]) > 20
        assert documents[name]["chunk_count"] == 0
    for name in fine:
        assert documents[name]["status"] == "completed", documents[name]
    assert "channel 12" in api.ask(kb, "Which channel does the harbour master answer on?").choices[0].message.content


def error_of(response: httpx.Response, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_things_are_404(api: Api, stream: bool) -> None:
    ask = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    unknown = api.http.post("/v1/chat/completions", json={**ask, "model": "gpt-9"})
    assert error_of(unknown, 404)["code"] == "model_not_found"
    body = {**ask, "model": "extractive", "knowledge_bases": ["kb_doesnotexist"]}
    assert error_of(api.http.post("/v1/chat/completions", json=body), 404)["code"] == "knowledge_base_not_found"
    for path in ("/v1/files/file-x", "/v1/knowledge-bases/kb_x", "/v1/models/x", "/v1/nothing"):
        error_of(api.http.get(path), 404)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["away", "llama-3.3-70b"])
def test_an_engine_that_is_not_up_is_503_with_a_time_to_retry(api: Api, model: str, stream: bool) -> None:
    ask = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    refused = api.http.post("/v1/chat/completions", json=ask)
    assert error_of(refused, 503)["code"] == "engine_unavailable"
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/files"),
        ("GET", "/v1/knowledge-bases"),
        ("GET", "/v1/none"),
    ],
)
def test_a_wrong_key_is_401_before_anything_is_parsed(api: Api, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer tns_wrong"}, {"Authorization": "Basic eDp5"}):
        response = httpx.request(method, api.base_url + path, headers=headers, content=b"{not json", trust_env=False)
        assert error_of(response, 401)["code"] == "invalid_api_key"


def test_a_body_over_the_limit_is_413(api: Api) -> None:
    body = b'{"model":"extractive","messages":[{"role":"user","content":"' + b"x" * (11 * 2**20) + b'"}]}'
    response = api.http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    error_of(response, 413)


def test_bad_json_and_wrong_types_are_400_and_name_the_field(api: Api) -> None:
    assert error_of(api.http.post("/v1/chat/completions", content=b"{oops"), 400)
    wrong = api.http.post("/v1/chat/completions", json={"model": "extractive", "messages": "hello"})
    assert error_of(wrong, 400)["param"] == "messages"
    bare = api.http.post("/v1/chat/completions", json={"model": "extractive"})
    assert error_of(bare, 400)["code"] == "missing_required_parameter"
    big = {"name": "x", "chunking_strategy": {"type": "recursive", "chunk_size": 9999}}
    assert "chunk_size" in str(error_of(api.http.post("/v1/knowledge-bases", json=big), 400)["param"])
