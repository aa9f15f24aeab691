"""Files, knowledge base and ingestion of the quickstart, all through the official `openai` client.

Routes that OpenAI does not have are reached with the client's own `get` and `post`: same key, same retries,
same errors.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from openai import OpenAI
from quickstart_server import POLL_SECONDS, ROOT, QuickstartError
from quickstart_view import printable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

DOCUMENTS = ROOT / "examples" / "handbook"
NOT_DOCUMENTS = {"questions.jsonl"}
KNOWLEDGE_BASE = "Corrowick handbook"
INGEST_SECONDS = 900.0
Json = dict[str, Any]


# plumbing --------------------------------------------------------------------------------------------
def get(client: OpenAI, path: str) -> Json:
    return cast(Json, client.get(path, cast_to=object))


def post(client: OpenAI, path: str, body: Json) -> Json:
    return cast(Json, client.post(path, cast_to=object, body=body))


def every(client: OpenAI, path: str) -> Iterator[Json]:
    """All items of a list, page by page."""
    mark = "&" if "?" in path else "?"
    page = get(client, f"{path}{mark}limit=100")
    yield from page["data"]
    while page.get("has_more") and page["data"]:
        page = get(client, f"{path}{mark}limit=100&after={page['data'][-1]['id']}")
        yield from page["data"]


def bar(console: Console, what: str) -> Progress:
    return Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), console=console)


# files -----------------------------------------------------------------------------------------------
def documents() -> list[Path]:
    found = sorted(path for path in DOCUMENTS.iterdir() if path.is_file() and path.name not in NOT_DOCUMENTS)
    if not found:
        raise QuickstartError(f"There are no documents in {DOCUMENTS}: run `make handbook`.")
    return found


def upload(client: OpenAI, paths: Sequence[Path], console: Console) -> dict[str, str]:
    """Uploads what is not there yet (same name and size). Returns file ids by name."""
    there = {(file.filename, file.bytes): file.id for file in client.files.list()}
    ids = {path.name: there.get((path.name, path.stat().st_size)) for path in paths}
    new = [path for path in paths if ids[path.name] is None]
    if new:
        ids |= send(client, new, console)
    console.print(f"{len(new)} files uploaded, {len(paths) - len(new)} were there already.")
    return {name: file_id for name, file_id in ids.items() if file_id}


def send(client: OpenAI, paths: Sequence[Path], console: Console) -> dict[str, str]:
    purpose = cast(Any, "knowledge_base")  # our own, beside the ones that OpenAI's types know
    with bar(console, "Uploading") as progress:
        return {path.name: client.files.create(file=path, purpose=purpose).id for path in progress.track(paths)}


# knowledge base --------------------------------------------------------------------------------------
def knowledge_base(client: OpenAI, console: Console) -> str:
    """The id of the knowledge base of our name, created if there is none."""
    for found in every(client, "/knowledge-bases"):
        if found["name"] == KNOWLEDGE_BASE:
            return str(found["id"])
    body = {"name": KNOWLEDGE_BASE, "description": "Fifteen documents of an invented ferry cooperative"}
    created = post(client, "/knowledge-bases", body)
    console.print(f"Knowledge base {created['id']} created.")
    return str(created["id"])


def ingest(client: OpenAI, kb: str, file_ids: Sequence[str], console: Console) -> None:
    """Makes every file searchable. Raises QuickstartError if one cannot be read."""
    for job in unfinished_jobs(client, kb):  # an earlier run was interrupted
        follow(client, kb, job["id"], console)
    ready = {document["file_id"] for document in documents_of(client, kb, "completed")}
    missing = [file_id for file_id in file_ids if file_id not in ready]
    if missing:
        body = {"type": "file_upload", "name": "handbook", "config": {"file_ids": missing}}
        source = post(client, f"/knowledge-bases/{kb}/data-sources", body)
        follow(client, kb, source["job_id"], console)
    report(client, kb, console)


def documents_of(client: OpenAI, kb: str, status: str) -> Iterator[Json]:
    return every(client, f"/knowledge-bases/{kb}/documents?status={status}")


def unfinished_jobs(client: OpenAI, kb: str) -> list[Json]:
    jobs = every(client, f"/knowledge-bases/{kb}/ingestion-jobs")
    return [job for job in jobs if job["status"] in ("queued", "processing")]


def follow(client: OpenAI, kb: str, job_id: str, console: Console) -> None:
    """Shows a job until it ends. A job that fails as a whole raises; single documents are for `report`."""
    end = time.monotonic() + INGEST_SECONDS
    with bar(console, "Reading documents") as progress:
        task = progress.add_task("", total=None)
        while not advance(progress, task, job := get(client, f"/knowledge-bases/{kb}/ingestion-jobs/{job_id}")):
            if time.monotonic() > end:
                raise QuickstartError(
                    f"The documents were not read within {INGEST_SECONDS:.0f} s (job {job_id}): run "
                    "`make quickstart` again, it goes on where this one stopped."
                )
            time.sleep(POLL_SECONDS)
    if job["status"] != "completed" and not job["documents_failed"]:
        reason = (job.get("error") or {}).get("message", "no reason given")
        raise QuickstartError(f"The ingestion job {job_id} ended as {job['status']}: {reason}")


def advance(progress: Progress, task: TaskID, job: Json) -> bool:
    """Draws a job; True when it has ended."""
    done = job["documents_processed"] + job["documents_failed"]
    progress.update(task, total=job["documents_total"] or None, completed=min(done, job["documents_total"]))
    return job["status"] not in ("queued", "processing")


def report(client: OpenAI, kb: str, console: Console) -> None:
    """Says how many documents can be asked, and names each that could not be read."""
    ready = sum(1 for _ in documents_of(client, kb, "completed"))
    failed = list(documents_of(client, kb, "failed"))
    for document in failed:
        error = document.get("error") or {}
        line = f"  {document['name']}: {error.get('message', 'no reason given')}"
        console.print(printable(line), markup=False, soft_wrap=True)
    console.print(f"{ready} documents can be asked.")
    if failed:
        raise QuickstartError(f"{len(failed)} documents could not be read: see above for which ones and why.")
