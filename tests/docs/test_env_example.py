"""`.env.example` names exactly the settings that exist, with the defaults that hold."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ingestion.settings import IngestionSettings
from rag.settings import RagSettings
from serving.main import ENGINE_DIR, ENGINE_THREADS
from serving.settings import ServingSettings, variable_names

FILE = Path(__file__).parents[2] / ".env.example"
CLASSES: tuple[type[BaseSettings], ...] = (RagSettings, IngestionSettings, ServingSettings)
LINE = re.compile(r"^# ([A-Z][A-Z_]*)=(.*)$", re.MULTILINE)

LINES = LINE.findall(FILE.read_text(encoding="utf-8"))
VALUES = dict(LINES)


def test_it_names_exactly_the_settings_that_exist() -> None:
    fields = {name for kind in CLASSES for name in variable_names(kind)}
    assert set(VALUES) == fields | {ENGINE_DIR, ENGINE_THREADS}


def test_it_names_each_once() -> None:
    assert [name for name, count in Counter(name for name, _ in LINES).items() if count > 1] == []


def _fields_with_a_default() -> list[tuple[type[BaseSettings], str, str]]:
    """(class, field, variable) of what has a fixed default; a path default depends on who starts it."""
    found = []
    for kind in CLASSES:
        for (field, info), variable in zip(kind.model_fields.items(), variable_names(kind), strict=True):
            if info.default_factory is None and not info.is_required() and info.default not in (None, ()):
                found.append((kind, field, variable))
    return [item for item in found if item[1] != "data_dir"]


@pytest.mark.parametrize(("kind", "field", "variable"), _fields_with_a_default(), ids=str)
def test_a_shown_default_is_the_default(
    kind: type[BaseSettings], field: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "BLOB_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(variable, raising=False)
    default = getattr(kind(), field)
    monkeypatch.setenv(variable, VALUES[variable])
    assert getattr(kind(), field) == default


def test_the_examples_are_values_that_the_settings_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value.strip("'"))
    rag, ingestion, serving = (kind() for kind in CLASSES)
    assert isinstance(rag, RagSettings)
    assert isinstance(ingestion, IngestionSettings)
    assert isinstance(serving, ServingSettings)
    assert len(rag.engines["llama-3.3-70b"].urls) == 2
    assert serving.cors_origins == ("https://app.example",)
    assert serving.data_dir == ingestion.data_dir == Path("/var/lib/tensoras")


def test_nothing_is_switched_on_by_copying_it() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
