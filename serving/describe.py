"""`tensoras settings`: every setting, its value and where the value comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from ingestion.settings import IngestionSettings
from rag.settings import RagSettings
from serving.settings import ServingSettings, variable_names

KINDS = (ServingSettings, RagSettings, IngestionSettings)


def lines(environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """`NAME=value  (environment|default)`, each name once."""
    environment = os.environ if environment is None else environment
    present = {name.upper() for name, value in environment.items() if value}
    seen: set[str] = set()
    for kind in KINDS:
        values = _values(kind)
        for (field, _), name in zip(kind.model_fields.items(), variable_names(kind), strict=True):
            if name not in seen:
                seen.add(name)
                source = "environment" if name in present else "default"
                yield f"{name}={_shown(values.get(field))}  ({source})"


def _values(kind: type[Any]) -> dict[str, Any]:
    """The URLs that ingestion needs may be unset here: `tensoras serve` fills them in."""
    absent = {
        name: "local"
        for (_, info), name in zip(kind.model_fields.items(), variable_names(kind), strict=True)
        if info.is_required() and not os.environ.get(name)
    }
    return dict(kind(**absent))


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, BaseModel):
        return str({name: _shown(item) for name, item in value if item is not None})
    if isinstance(value, dict):
        return str({name: _shown(item) for name, item in value.items()})
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return "" if value is None else _without_password(str(value))


def _without_password(text: str) -> str:
    """`postgresql://user:secret@host/db` → `postgresql://user:********@host/db`."""
    try:
        password = urlsplit(text).password if "://" in text else None
    except ValueError:
        return "********"
    return text.replace(f":{password}@", ":********@") if password else text
