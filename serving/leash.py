"""Starts a command that ends when its parent ends: `python -m serving.leash [--parent PID] -- COMMAND…`

The kernel sends SIGTERM to the command when the thread that started it is gone, even after `kill -9` of the
parent. The command leads a session and process group of its own, so that one `killpg` reaches its children
too. Only Linux has such a signal: elsewhere the next start of the server removes what was left.

Standard library only, and few modules of it: this runs before every child. The command replaces this process.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
USAGE = "usage: python -m serving.leash [--parent PID] -- COMMAND [ARGUMENT…]"


def parse(arguments: list[str]) -> tuple[int | None, list[str]]:
    """(parent or None, command). Raises ValueError when there is no command or no number."""
    before, separator, command = _split(arguments)
    if not separator or not command:
        raise ValueError("there is no command")
    if not before:
        return None, command
    if len(before) != 2 or before[0] != "--parent":
        raise ValueError(f"unknown argument {before[0]}")
    return int(before[1]), command


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in arguments:
        return arguments, False, []
    at = arguments.index("--")
    return arguments[:at], True, arguments[at + 1 :]


def lead_own_group() -> None:
    """A session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone."""
    if os.getpgrp() != os.getpid():
        os.setsid()


def follow_parent() -> None:
    """SIGTERM from the kernel when the parent's thread ends. Survives exec, is not inherited by children."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def reset_signals() -> None:
    """A parent may ignore or block signals, and exec keeps both: the command begins with the defaults."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def main(arguments: list[str]) -> int:
    try:
        parent, command = parse(arguments)
    except ValueError as error:
        sys.stderr.write(f"{error}\n{USAGE}\n")
        return 2
    reset_signals()
    lead_own_group()
    follow_parent()
    # Asked after prctl: a parent that died before it will never be reported.
    if parent is not None and os.getppid() != parent:
        sys.stderr.write(f"the parent {parent} is gone; {command[0]} is not started\n")
        return 1
    try:
        os.execvp(command[0], command)  # noqa: S606 - the point: no shell, and no process in between
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
