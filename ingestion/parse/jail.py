"""What a parser process gives up before it sees its first document. Linux; elsewhere only the limits apply.

Layers, from the outside in. Each stands alone, and the report says which of them hold:

- resource limits: memory, CPU, open files, no file may grow, no core dump. Everywhere.
- death signal: the process dies with its parent, even when that is killed with -9.
- no new privileges, capabilities dropped: set-uid programs and root's powers give nothing. What stays is
reading.
- network namespace: no interface at all. Needs root or unprivileged user namespaces; many containers allow
neither.
- system call filter: no sockets, no signals to others, no writing, renaming or deleting, no programs (except
under text recognition, which starts tesseract). Works without any privilege, on x86-64 and arm64.
- audit hook: Python itself refuses sockets and programs. It stops mistakes and curious libraries, not
machine code that an attacker brings in: that is what the filter is for.

What is not taken: reading other files of the same user. Run workers under a user of their own, or in a
container.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION = 0x20080522

_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | 1  # EPERM
_ABSENT = 0x00050000 | 38  # ENOSYS: libraries then fall back to the older call, which the filter can read
_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ARGUMENTS = 16  # offset of the first argument; each takes 8 bytes, the low half first
_X32 = 0x40000000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one parser process. `programs`: it may start tesseract."""

    memory_bytes: int
    cpu_seconds: int
    documents: int
    programs: bool


@dataclass(frozen=True, slots=True)
class _Calls:
    """System call numbers of one architecture."""

    audit: int
    denied: tuple[int, ...]
    programs: tuple[int, ...]
    open_at: tuple[tuple[int, int], ...]  # call, index of its flags argument
    openat2: int
    tgkill: int


# denied: socket connect bind listen socketpair sendto sendmsg; ptrace process_vm_readv process_vm_writev bpf
# io_uring_setup unshare setns mount keyctl perf_event_open userfaultfd open_by_handle_at; rt_sigqueueinfo
# rt_tgsigqueueinfo pidfd_send_signal pidfd_getfd tkill; then what changes files: truncate ftruncate rename*
# mkdir* unlink* rmdir link* symlink* chmod* chown* utimensat mknod* creat fallocate.
_CALLS = {
    "x86_64": _Calls(
        audit=0xC000003E,
        denied=(
            *(41, 42, 49, 50, 53, 44, 46, 101, 310, 311, 321, 425, 272, 308, 165, 250, 298, 323, 304),
            *(129, 297, 424, 438, 200, 76, 77, 82, 264, 316, 83, 258, 87, 263, 84, 86, 265, 88, 266),
            *(90, 91, 268, 92, 93, 94, 260, 280, 133, 259, 85, 285),
        ),
        programs=(59, 322, 62),
        open_at=((2, 1), (257, 2)),
        openat2=437,
        tgkill=234,
    ),
    "aarch64": _Calls(
        audit=0xC00000B7,
        denied=(
            *(198, 203, 200, 201, 199, 206, 211, 117, 270, 271, 280, 425, 97, 268, 40, 219, 241, 282, 265),
            *(138, 240, 424, 438, 130, 45, 46, 38, 276, 34, 35, 37, 36, 52, 53, 54, 55, 88, 33, 47),
        ),
        programs=(221, 281, 129),
        open_at=((56, 2),),
        openat2=437,
        tgkill=131,
    ),
}


def enter(limits: Limits, parent: int) -> dict[str, bool]:
    """Applies every layer that this machine has; returns which of them hold.

    `parent` is the process id of whoever started this one. Call once, before any thread starts.
    """
    held = {"limits": _set_limits(limits)}
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        held["death_signal"] = _die_with(libc, parent)
        held["network_namespace"] = _leave_network(libc)
        held["capabilities"] = _drop_capabilities(libc)
        held["no_new_privileges"] = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        held["system_calls"] = _filter_calls(libc, limits.programs)
    sys.addaudithook(_refuse)
    return held


def allow_cpu(seconds: int) -> None:
    """Gives the next document its own CPU seconds: the kernel counts over the life of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def _set_limits(limits: Limits) -> bool:
    cpu = limits.cpu_seconds * (limits.documents + 1)
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if not limits.programs:
        # Counted per user, so any positive number would depend on what else runs: none at all is exact.
        wanted[resource.RLIMIT_NPROC] = 0
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard < 0 else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    return True


def _die_with(libc: ctypes.CDLL, parent: int) -> bool:
    """The signal is sent when the parent's thread that started this process ends; a parent that is gone
    already sends none."""
    asked = libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    if os.getppid() != parent:
        raise SystemExit("the parent process is gone")
    return bool(asked)


def _leave_network(libc: ctypes.CDLL) -> bool:
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Keeps only the reading of files, without which a worker that runs as root could not open its
    documents."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    current = ctypes.create_string_buffer(24)
    if libc.capget(header, current) != 0:
        return False
    permitted = struct.unpack("=6I", current.raw)[1] & (1 << _CAP_DAC_READ_SEARCH)
    return bool(libc.capset(header, struct.pack("=6I", permitted, permitted, 0, 0, 0, 0)) == 0)


def _filter_calls(libc: ctypes.CDLL, programs: bool) -> bool:
    calls = _CALLS.get(platform.machine())
    if calls is None or sys.byteorder != "little":
        return False
    code = _program(calls, programs)
    memory = ctypes.create_string_buffer(code, len(code))
    filter_program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program, 0, 0) == 0)


def _program(calls: _Calls, programs: bool) -> bytes:
    """A Berkeley packet filter over (call number, architecture, arguments)."""
    code = [
        _step(_LOAD, 4),
        _step(_JUMP_EQUAL, calls.audit, 1, 0),
        _step(_RETURN, _DENY),
        _step(_LOAD, 0),
        _step(_JUMP_FROM, _X32, 0, 1),
        _step(_RETURN, _DENY),
    ]
    denied = calls.denied if programs else (*calls.denied, *calls.programs)
    for number in denied:
        code += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _DENY)]
    code += [_step(_JUMP_EQUAL, calls.openat2, 0, 1), _step(_RETURN, _ABSENT)]
    for number, argument in calls.open_at:
        code += _unless(number, argument, _step(_JUMP_ANY_BIT, _WRITE_FLAGS, 0, 1))
    code += _unless(calls.tgkill, 0, _step(_JUMP_EQUAL, os.getpid(), 1, 0))
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _unless(number: int, argument: int, test: bytes) -> list[bytes]:
    """Denies one call where `test` on one of its arguments falls through to the next step."""
    return [
        _step(_JUMP_EQUAL, number, 0, 4),
        _step(_LOAD, _ARGUMENTS + 8 * argument),
        test,
        _step(_RETURN, _DENY),
        _step(_RETURN, _ALLOW),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith("socket.") or event in {"os.system", "os.exec", "os.posix_spawn", "os.fork"}:
        raise PermissionError(f"a parser may not use {event}")
    if event == "subprocess.Popen" and not str(arguments[0]).endswith("tesseract"):
        raise PermissionError("a parser may start no program but tesseract")
