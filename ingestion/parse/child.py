"""The parser process: `python -m ingestion.parse.child <limits as JSON> <parent's process id>`. Started by
sandbox.py only.

It reads requests from standard input and answers on standard output: one frame when it is ready, then per
document `A` (the request has arrived) and one length-prefixed result. It ends when its input ends.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import orjson

from ingestion.parse import docx, html, jail, pdf, registry, wire, xlsx  # noqa: F401 - warmed before the first document
from rag.errors import DocumentError

_MAX_REQUEST = 65_536
# Libraries that can do without it import it where it is installed: seconds and hundreds of megabytes for nothing.
_UNWANTED = "torch"


def main() -> None:
    limits = jail.Limits(**orjson.loads(sys.argv[1]))
    answers = _own_output()
    sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # an import of it now fails as if it were not there
    if not limits.programs:
        os.environ["PATH"] = ""  # the jail would refuse to start what a parser finds there
    held = jail.enter(limits, int(sys.argv[2]))
    _send(answers, wire.frame(orjson.dumps(held)))
    while request := _request():
        _send(answers, b"A")
        jail.allow_cpu(limits.cpu_seconds)
        _send(answers, wire.frame(_answer(request["path"], request["name"])))


def _own_output() -> BinaryIO:
    """Keeps the pipe for answers and points standard output at standard error: libraries that print cannot
    break the protocol."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb")


def _send(answers: BinaryIO, data: bytes) -> None:
    answers.write(data)
    answers.flush()


def _request() -> dict[str, str] | None:
    head = sys.stdin.buffer.read(wire.LENGTH_BYTES)
    size = int.from_bytes(head, "big")
    if len(head) < wire.LENGTH_BYTES or size > _MAX_REQUEST:
        return None
    request: dict[str, str] = orjson.loads(sys.stdin.buffer.read(size))
    return request


def _answer(path: str, name: str) -> bytes:
    """What is not a DocumentError ends the process: after it, nothing here can be relied on."""
    try:
        payload = wire.encode_document(registry.parse(Path(path), name))
    except DocumentError as error:
        return wire.encode_error(error)
    except RecursionError:
        return wire.encode_error(
            DocumentError(
                "corrupt_document",
                "The document is nested too deeply. Save it in another format and upload that.",
            )
        )
    if len(payload) > wire.MAX_FRAME:
        return wire.encode_error(
            DocumentError("too_large", "The document's text is too large. Split it into smaller files.")
        )
    return payload


if __name__ == "__main__":
    main()
