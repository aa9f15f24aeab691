"""A multipart form whose one file is read as it arrives: never whole in memory, never in a temporary file."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rag.errors import InvalidRequest
from serving.errors import TooLarge
from serving.settings import MEGABYTE

_MAX_FIELD = 4096
_MAX_FIELDS = 16
_MAX_FILENAME = 512


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The multipart body cannot be read: {why}.", code="invalid_multipart")


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart/form-data header. Raises InvalidRequest for anything else."""
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        raise InvalidRequest(
            "Send the file as multipart/form-data with the fields 'file' and 'purpose'.",
            code="invalid_multipart",
        )
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _broken("its Content-Type names no boundary")
    return boundary


class Form:
    """One multipart form. Call `open`, then read `file` to its end, then `close`; `fields` fills on the way.

    `filename` and `content_type` are those of the part named `file`, None where there is none.
    """

    def __init__(self, content_type: str, body: AsyncIterator[bytes], *, max_file: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.content_type: str | None = None
        self._max_file = max_file
        self._body = body
        self._parser = self._make_parser(boundary_of(content_type))
        self._headers: dict[str, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._field: str | None = None
        self._value = bytearray()
        self._pieces: list[bytes] = []
        self._size = 0
        self._in_file = self._file_ended = self._ended = False

    def _make_parser(self, boundary: bytes) -> MultipartParser:
        callbacks: Any = {
            "on_part_begin": self._on_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            return MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise _broken(str(error)) from error

    # what the parser tells ---------------------------------------------------------------------

    def _on_part(self) -> None:
        self._headers = {}
        self._field, self._value = None, bytearray()

    def _on_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._headers[_text(name).lower()] = value
        self._header = (bytearray(), bytearray())

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        if b"name" not in options:
            raise _broken("a part has no name")
        name = _text(options[b"name"])
        if b"filename" in options:
            self._open_file(name, _text(options[b"filename"]))
            return
        if len(self.fields) >= _MAX_FIELDS or len(name) > 256:
            raise _broken("it has too many fields, or one with a very long name")
        if name == "file":
            raise InvalidRequest(
                "The field 'file' has no filename; send it as a file.",
                code="missing_required_parameter",
                param="file",
            )
        self._field = name

    def _open_file(self, name: str, filename: str) -> None:
        if name != "file":
            raise InvalidRequest(
                f"Unknown file field {name[:100]!r}; the file goes into 'file'.",
                code="unknown_parameter",
                param="file",
            )
        if self.filename is not None:
            raise InvalidRequest("Send one file per request.", param="file")
        if not filename or len(filename) > _MAX_FILENAME or "\x00" in filename:
            raise InvalidRequest(
                f"The file needs a name of 1 to {_MAX_FILENAME} characters, without NUL.", param="file"
            )
        self.filename, self._in_file = filename, True
        self.content_type = _text(self._headers.get("content-type", b""))[:256] or None

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._size += end - start
            if self._size > self._max_file:
                size = f"{self._max_file / MEGABYTE:g} MB"
                raise TooLarge(f"The file is larger than {size}. Split it, or raise TENSORAS_MAX_FILE_MB.")
            self._pieces.append(bytes(data[start:end]))
        else:
            self._value += data[start:end]
            if len(self._value) > _MAX_FIELD:
                raise InvalidRequest(f"The field {self._field!r} is longer than {_MAX_FIELD} bytes.", param=self._field)

    def _on_part_end(self) -> None:
        if self._in_file:
            self._in_file, self._file_ended = False, True
        elif self._field is not None:
            if self._field in self.fields:
                raise InvalidRequest(f"The field {self._field!r} comes twice.", param=self._field)
            self.fields[self._field] = _text(bytes(self._value))

    def _on_end(self) -> None:
        self._ended = True

    # reading -------------------------------------------------------------------------------------

    async def _read(self) -> bool:
        """Feeds the next part of the body; False at its end."""
        chunk = await anext(self._body, None)
        if chunk is None:
            return False
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(str(error)) from error
        return True

    async def open(self) -> None:
        """Reads up to the beginning of the file, or to the end where there is none."""
        while self.filename is None and await self._read():
            pass

    async def file(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the file. A body that ends inside it is an error, never a shorter file."""
        while True:
            for piece in self._drain():
                yield piece
            if self._file_ended:
                return
            if not await self._read():
                raise _broken("it ends inside the file")

    def _drain(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces

    async def close(self) -> None:
        """Reads the fields that come after the file."""
        while await self._read():
            pass
        if not self._ended:
            raise _broken("its closing boundary is missing")
