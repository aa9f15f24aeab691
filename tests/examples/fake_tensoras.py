"""A stand-in for the server with the routes that the quickstart uses, for tests of the client alone.

`python fake_tensoras.py serve --data-dir D --port N` runs it; FAKE says how it misbehaves.
"""

from __future__ import annotations

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
PASSAGE: Json = {
    "index": 1,
    "source": "passenger-charter.pdf",
    "page": 2,
    "cited": True,
    "spans": [{"quote": "kept for 45 days", "page": 2, "verification": "exact"}],
}


class State:
    """What the fake remembers, and how it is told to misbehave."""

    def __init__(self, key: str, fake: str = "") -> None:
        self.key = key
        self.fake = fake
        self.ready_calls = 0
        self.files: list[Json] = []
        self.bases: list[Json] = []
        self.documents: list[Json] = []
        self.jobs: list[Json] = []
        self.engine_refusals = 2
        self.asked: list[Json] = []

    # routes: each returns (status, body) ---------------------------------------------------------------
    def ready(self) -> tuple[int, Json]:
        self.ready_calls += 1
        if "never-ready" in self.fake or self.ready_calls < 3:
            parts = {"database": "ok", "vector_store": "opening the collection"}
            return 503, {"status": "not_ready", "checks": parts, "models": {}}
        return 200, {"status": "ready", "checks": {"database": "ok"}, "models": {}}

    def models(self) -> tuple[int, Json]:
        ids = ["extractive"] + ([] if "no-engine" in self.fake else ["smollm2-135m-instruct"])
        return 200, listing([{"id": i, "object": "model", "created": 1, "owned_by": "x"} for i in ids])

    def add_file(self, body: bytes) -> tuple[int, Json]:
        name = re.search(rb'filename="([^"]+)"', body)
        assert name
        content = body.split(name.group(0), 1)[1].split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        file = {
            "id": f"file-{len(self.files)}",
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": name.group(1).decode(),
            "purpose": "knowledge_base",
            "status": "processed",
        }
        self.files.append(file)
        return 200, file

    def add_base(self, body: Json) -> tuple[int, Json]:
        self.bases.append({"id": f"kb_{len(self.bases)}", "name": body["name"]})
        return 200, self.bases[-1]

    def add_source(self, body: Json) -> tuple[int, Json]:
        names = {file["id"]: file["filename"] for file in self.files}
        failing = ["whimbrel-maintenance-plan.docx"] if "bad-document" in self.fake else []
        for file_id in body["config"]["file_ids"]:
            bad = names[file_id] in failing
            error = {"code": "corrupt_document", "message": "It is damaged [page 3]."} if bad else None
            status = "failed" if bad else "completed"
            self.documents.append({"name": names[file_id], "file_id": file_id, "status": status, "error": error})
        total = len(body["config"]["file_ids"])
        job = {"id": f"job_{len(self.jobs)}", "status": "queued"} | counts(total)
        self.jobs.append(job)
        return 200, {"id": "ds_1", "job_id": job["id"]}

    def job(self, job_id: str) -> tuple[int, Json]:
        job = next(job for job in self.jobs if job["id"] == job_id)
        if "bad-job" in self.fake:
            job |= {"status": "failed", "error": {"code": "x", "message": "The vector store is full."}}
        elif job["status"] == "queued":
            job["status"] = "processing"
        elif job["documents_processed"] < job["documents_total"] - 1:
            job["documents_processed"] = job["documents_total"] - 1
        else:
            failed = sum(document["status"] == "failed" for document in self.documents)
            job |= {"status": "completed", "documents_failed": failed}
            job["documents_processed"] = job["documents_total"] - failed
        return 200, job

    def chat(self, body: Json) -> tuple[int, Json | list[Json]]:
        self.asked.append(body)
        if body["model"] != "extractive" and self.engine_refusals > 0:
            self.engine_refusals -= 1
            return 503, {"error": {"message": "not up yet", "type": "api_error", "code": "engine_unavailable"}}
        citations = [PASSAGE] if body.get("knowledge_bases") and "uncited" not in self.fake else []
        base = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if body.get("stream"):
            chunks: list[Json] = [
                base | delta({"content": "They are kept "}),
                base | delta({"content": "for 45 days [1]."}),
                base | delta({}, "stop") | {"citations": citations},
            ]
            return 200, chunks
        message = {"role": "assistant", "content": "They are kept for 45 days [1]."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, base | {"object": "chat.completion", "choices": [choice], "citations": citations}


def counts(total: int) -> Json:
    return {"documents_total": total, "documents_processed": 0, "documents_failed": 0, "error": None}


def delta(content: Json, finish: str | None = None) -> Json:
    choice = {"index": 0, "delta": content, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


def listing(items: list[Json]) -> Json:
    return {"object": "list", "data": items, "has_more": False}


class Handler(BaseHTTPRequestHandler):
    state: State

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        state, path = self.state, self.path.partition("?")[0]
        if path == "/health":
            self.answer(200, {"status": "ok"})
        elif path == "/ready":
            self.answer(*state.ready())
        elif "slow-start" in state.fake and state.ready_calls < 3:
            self.answer(503, {"error": {"message": "not ready yet", "type": "api_error"}})
        elif self.allowed():
            self.answer(*self.known(path))

    def known(self, path: str) -> tuple[int, Json]:
        state = self.state
        if path.endswith("/documents"):
            wanted = self.path.split("status=")[1].split("&")[0]
            return 200, listing([d for d in state.documents if d["status"] == wanted])
        if "/ingestion-jobs/" in path:
            return state.job(path.rsplit("/", 1)[1])
        if path == "/v1/models":
            return state.models()
        lists = {"files": state.files, "knowledge-bases": state.bases, "ingestion-jobs": state.jobs}
        return 200, listing(lists[path.rsplit("/", 1)[1]])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return
        if self.path == "/v1/files":
            self.answer(*self.state.add_file(body))
            return
        routes = {"knowledge-bases": "add_base", "data-sources": "add_source", "completions": "chat"}
        self.answer(*getattr(self.state, routes[self.path.rsplit("/", 1)[1]])(json.loads(body)))

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.state.key}":
            return True
        self.answer(401, {"error": {"message": "wrong key", "type": "authentication_error"}})
        return False

    def answer(self, status: int, body: Json | list[Json]) -> None:
        stream = isinstance(body, list)
        parts = [json.dumps(item) for item in (body if isinstance(body, list) else [body])]
        text = "".join(f"data: {part}\n\n" for part in [*parts, "[DONE]"]) if stream else parts[0]
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def serve(state: State, port: int) -> ThreadingHTTPServer:
    """A bound server that handles requests once `serve_forever` runs; port 0 takes a free one."""
    handler = type("Bound", (Handler,), {"state": state})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main(arguments: list[str]) -> None:
    fake = os.environ.get("FAKE", "")
    if "dies" in fake:
        print("loading\nERROR: the data folder is from a newer version [v9]", flush=True)
        sys.exit(3)
    state = State(os.environ["TENSORAS_BOOTSTRAP_KEY"], fake)
    print("listening", flush=True)
    serve(state, int(arguments[arguments.index("--port") + 1])).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
