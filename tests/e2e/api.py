"""The requests the end-to-end tests make, over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

ENDED = {"completed", "failed", "cancelled"}


class Api:
    """A server and a key. Waits are bounded; what they wait for is named when they give up."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.key = key
        self.http = httpx.Client(
            base_url=self.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False
        )
        self.openai = OpenAI(base_url=f"{self.base_url}/v1", api_key=key, max_retries=0, timeout=300)

    def close(self) -> None:
        self.http.close()
        self.openai.close()

    def get(self, path: str, **params: Any) -> Any:
        response = self.http.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any) -> Any:
        response = self.http.post(path, json=body)
        assert response.status_code in (200, 201, 202), response.text
        return response.json()

    def upload(self, name: str, data: bytes) -> str:
        return self.openai.files.create(file=(name, data), purpose="assistants").id

    def knowledge_base(self, name: str, **more: Any) -> str:
        return str(self.post("/v1/knowledge-bases", {"name": name, **more})["id"])

    def ingest(self, kb: str, file_ids: Iterable[str]) -> str:
        """Starts a job over the files and returns its id."""
        body = {"type": "file_upload", "name": "files", "config": {"file_ids": list(file_ids)}}
        self.post(f"/v1/knowledge-bases/{kb}/data-sources", body)
        return str(self.get(f"/v1/knowledge-bases/{kb}/ingestion-jobs")["data"][0]["id"])

    def job(self, kb: str, job: str) -> Any:
        return self.get(f"/v1/knowledge-bases/{kb}/ingestion-jobs/{job}")

    def wait_for_job(self, kb: str, job: str, seconds: float = 240) -> Any:
        return self.until(
            lambda: seen if (seen := self.job(kb, job))["status"] in ENDED else None, f"job {job}", seconds
        )

    def until(self, ask: Any, what: str, seconds: float = 120) -> Any:
        """What `ask` gives once it is true; a server that is restarting is asked again."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                if last := ask():
                    return last
            except (httpx.TransportError, AssertionError) as error:
                last = error
            time.sleep(0.2)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; last: {last!r}")

    def ready(self, seconds: float = 120) -> Any:
        return self.until(lambda: self.http.get("/ready").status_code == 200, "/ready", seconds)

    def documents(self, kb: str) -> dict[str, Any]:
        listed = self.get(f"/v1/knowledge-bases/{kb}/documents", limit=100)["data"]
        return {document["name"]: document for document in listed}

    def text(self, kb: str, document: str) -> str:
        response = self.http.get(f"/v1/knowledge-bases/{kb}/documents/{document}/content")
        assert response.status_code == 200, response.text
        return response.content.decode()

    def ask(self, kb: str, question: str, model: str = "extractive", **more: Any) -> Any:
        return self.openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            extra_body={"knowledge_bases": [kb], **more.pop("extra_body", {})},
            **more,
        )


def check_citations(api: Api, kb: str, answer: str, citations: list[dict[str, Any]]) -> None:
    """Every promise that API.md makes about a citation, against the stored canonical text."""
    texts = {c["document_id"]: api.text(kb, c["document_id"]) for c in citations}
    assert [c["index"] for c in citations] == list(range(1, len(citations) + 1))
    scores = [c["score"] for c in citations]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, reverse=True)
    for citation in citations:
        text = texts[citation["document_id"]]
        assert text[citation["start"] : citation["end"]] == citation["text"]
        assert citation["cited"] == bool(citation["spans"])
        for span in citation["spans"]:
            assert 0 <= span["answer_start"] < span["answer_end"] <= len(answer)
            assert span["verification"] in ("exact", "normalized", "unverified")
            if span["quote"] is not None:
                assert text[span["start"] : span["end"]] == span["quote"]
            if span["verification"] == "exact":
                assert answer[span["answer_start"] : span["answer_end"]].strip() in text


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
