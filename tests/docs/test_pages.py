"""What README and tutorial show can be run, and what they link to exists."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from ingestion.settings import IngestionSettings
from rag.settings import RagSettings
from serving.settings import ServingSettings, variable_names

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/tutorial.md", "docs/licences.md"]
SETTINGS: tuple[type[BaseSettings], ...] = (RagSettings, IngestionSettings, ServingSettings)


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_python_blocks_are_python(page: str) -> None:
    found = blocks(page, "python")
    assert found
    for block in found:
        ast.parse(block)


def test_json_blocks_are_json_and_the_citation_is_consistent() -> None:
    (citation,) = (json.loads(block) for block in blocks("README.md", "json"))
    (span,) = citation["spans"]
    assert len(span["quote"]) == span["end"] - span["start"]
    assert citation["start"] <= span["start"] < span["end"] <= citation["end"]
    assert span["verification"] in ("exact", "normalized", "unverified")


@pytest.mark.parametrize("page", PAGES)
def test_local_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text(page))
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text(page), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_are_named_exist(page: str) -> None:
    known = {name for kind in SETTINGS for name in variable_names(kind)}
    named = set(re.findall(r"`(TENSORAS_[A-Z_]*[A-Z]|[A-Z]+_(?:URL|MODEL)|ENGINES)`", text(page)))
    assert named <= known
