"""Outlook messages by hand: an OLE container of property streams, just enough of [MS-CFB] and [MS-OXMSG]."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

SUBJECT, CLASS, SENDER, SENDER_ADDRESS, HEADERS = 0x0037, 0x001A, 0x0C1A, 0x0C1F, 0x007D
BODY, HTML, CODE_PAGE, SENT = 0x1000, 0x1013, 0x3FDE, 0x0039
NAME, ADDRESS, FILE_NAME = 0x3001, 0x3003, 0x3707
_TEXT, _BINARY, _INTEGER = 0x001F, 0x0102, 0x0003
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR, _SMALL, _CUTOFF = 512, 64, 4096

Values = dict[int, str | bytes | int]
Tree = dict[str, "bytes | Tree"]


def msg_bytes(
    values: Values, *, recipients: list[Values] | None = None, attachments: list[Values] | None = None
) -> bytes:
    """A message of these properties: str is text, bytes is binary, int a 32-bit number."""
    root = _properties(values, 32)
    for at, item in enumerate(recipients or []):
        root[f"__recip_version1.0_#{at:08X}"] = _properties(item, 8)
    for at, item in enumerate(attachments or []):
        root[f"__attach_version1.0_#{at:08X}"] = _properties(item, 8)
    return _container(root)


def _properties(values: Values, header: int) -> Tree:
    tree: Tree = {}
    entries = b"\0" * header
    for number, value in values.items():
        if isinstance(value, int):
            entries += struct.pack("<HHIQ", _INTEGER, number, 6, value)
            continue
        kind = _TEXT if isinstance(value, str) else _BINARY
        data = value.encode("utf-16-le") if isinstance(value, str) else value
        entries += struct.pack("<HHIQ", kind, number, 6, len(data))
        tree[f"__substg1.0_{number:04X}{kind:04X}"] = data
    tree["__properties_version1.0"] = entries
    return tree


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    child: int = _FREE
    right: int = _FREE
    start: int = _END
    size: int = 0


def _entries(tree: Tree, into: list[_Entry]) -> int:
    """Adds a folder's entries as a list that leans right; returns the first one's number."""
    numbers = []
    for name in sorted(tree, key=lambda name: (len(name), name.upper())):
        value = tree[name]
        numbers.append(len(into))
        entry = _Entry(name, 2, value) if isinstance(value, bytes) else _Entry(name, 1)
        into.append(entry)
        if isinstance(value, dict):
            entry.child = _entries(value, into)
    for here, following in pairwise(numbers):
        into[here].right = following
    return numbers[0]


def _container(tree: Tree) -> bytes:
    root = _Entry("Root Entry", 5)
    entries = [root]
    root.child = _entries(tree, entries)
    small = b""
    small_chain: list[int] = []
    sectors: list[bytes] = []
    chain: list[int] = []
    for entry in entries[1:]:
        entry.size = len(entry.data)
        if entry.size >= _CUTOFF:
            entry.start = _store(entry.data, sectors, chain)
        elif entry.data:
            entry.start = len(small_chain)
            count = -(-entry.size // _SMALL)
            small_chain += [*range(entry.start + 1, entry.start + count), _END]
            small += entry.data.ljust(count * _SMALL, b"\0")
    root.start, root.size = _store(small, sectors, chain), len(small)
    links = _store(struct.pack(f"<{len(small_chain)}I", *small_chain), sectors, chain, fill=b"\xff")
    directory = _store(b"".join(map(_directory_entry, entries)), sectors, chain)
    fats = next(n for n in range(1, 110) if n * 128 >= len(chain) + n)
    first_fat = len(chain)
    table = struct.pack("<I", _FREE) * (fats * 128)
    used = struct.pack(f"<{len(chain) + fats}I", *chain, *[_FAT] * fats)
    where = [*range(first_fat, first_fat + fats), *[_FREE] * (109 - fats)]
    head = struct.pack(
        "<8s16x5H6x118I",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, fats, directory, 0, _CUTOFF),
        *(links, -(-len(small_chain) // 128), _END, 0, *where),
    )
    return head + b"".join(sectors) + used + table[len(used) :]


def _store(data: bytes, sectors: list[bytes], chain: list[int], *, fill: bytes = b"\0") -> int:
    start = len(chain)
    count = max(1, -(-len(data) // _SECTOR))
    sectors.append(data.ljust(count * _SECTOR, fill))
    chain += [*range(start + 1, start + count), _END]
    return start


def _directory_entry(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBBIII16xIQQIQ",
        *(name, len(name), entry.kind, 1, _FREE, entry.right, entry.child, 0, 0, 0, entry.start, entry.size),
    )
