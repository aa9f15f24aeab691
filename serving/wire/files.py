"""Files, as OpenAI writes them."""

from __future__ import annotations

from typing import Literal, Self

from serving.ledger import StoredFile
from serving.wire.common import Object

PURPOSES = ("batch", "knowledge_base", "knowledge-base", "assistants", "user_data")


class FileObject(Object):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"

    @classmethod
    def of(cls, file: StoredFile) -> Self:
        return cls(
            id=file.id,
            bytes=file.size_bytes,
            created_at=file.created_at,
            filename=file.filename,
            purpose=file.purpose,
        )
