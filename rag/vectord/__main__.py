"""`python -m rag.vectord --data DIR [--fd N | --host 127.0.0.1 --port N]`

The API key is read from VECTORD_API_KEY, never from the command line, where every user of the machine
could read it. SIGTERM and SIGINT finish what runs, flush, and end with status 0.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from rag.vectord.limits import Limits

KEY_VARIABLE = "VECTORD_API_KEY"
_BACKLOG = 512


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rag.vectord",
        description="The embedded vector store: Qdrant's REST API over a local folder.",
        epilog=f"The API key is read from {KEY_VARIABLE}, bounds from VECTORD_… (see rag/vectord/limits.py).",
    )
    parser.add_argument("--data", required=True, type=Path, help="folder of the collections; made if missing")
    parser.add_argument("--fd", type=int, help="an inherited listening socket, in place of host and port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6333, help="0 takes a free one; the log says which")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def listen(fd: int | None, host: str, port: int) -> socket.socket:
    """The listening socket: the inherited one, or a new one."""
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def is_private(sock: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    if sock.family == socket.AF_UNIX:
        return True
    return ipaddress.ip_address(sock.getsockname()[0]).is_loopback


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    key = os.environ.get(KEY_VARIABLE) or None
    try:
        limits = Limits.from_environment()
    except ValueError as error:
        return _refuse(str(error))
    try:
        sock = listen(args.fd, args.host, args.port)
    except OSError as error:
        return _refuse(f"cannot listen on {args.fd or f'{args.host}:{args.port}'}: {error}")
    if key is None and not is_private(sock):
        return _refuse(f"{args.host} can be reached from other machines: set {KEY_VARIABLE}, or use 127.0.0.1")
    from rag.vectord.server import serve

    return serve(args.data, sock, key, limits)


def _refuse(message: str) -> int:
    sys.stderr.write(f"vectord: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
