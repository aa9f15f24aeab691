from __future__ import annotations

from typing import Any

import pytest
from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings

from ingestion.settings import IngestionSettings
from rag.errors import ConfigurationError
from rag.settings import RagSettings
from serving.settings import ServingSettings, reject_unknown_variables, variable_names

ALL = (RagSettings, IngestionSettings, ServingSettings)


def test_defaults_are_careful(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServingSettings()
    assert settings.host == "127.0.0.1"
    assert settings.cors_origins == ()
    assert settings.max_body_bytes == 10 * 1024 * 1024
    assert settings.max_file_bytes == 512 * 1024 * 1024


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TENSORAS_PORT": "9000",
        "TENSORAS_CORS_ORIGINS": "https://a.example, https://b.example,",
        "TENSORAS_BOOTSTRAP_KEY": "tns_0123456789abcdef",
        "TENSORAS_PUBLIC_URL": "https://x.example/",
        "TENSORAS_MAX_FILE_MB": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = ServingSettings()
    assert settings.port == 9000
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.public_url == "https://x.example"
    assert settings.max_file_mb == 512
    assert "0123456789" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"port": "x"},
        {"bootstrap_key": "short"},
        {"bootstrap_key": "x" * 20 + " y"},
        {"bootstrap_key": "ü" * 20},
        {"max_body_mb": 0},
        {"public_url": "x.example"},
        {"default_rpm": 0},
        {"hosts": "x"},
    ],
)
def test_bad_values(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        ServingSettings(**wrong)
    if "bootstrap_key" in wrong:
        assert wrong["bootstrap_key"] not in str(refused.value)


def test_a_misspelt_variable_is_refused_with_a_hint() -> None:
    with pytest.raises(ConfigurationError) as refused:
        reject_unknown_variables({"TENSORAS_MAX_FLIE_MB": "5", "PATH": "/bin", "TENSORAS_HOST": "x"}, ALL)
    assert "TENSORAS_MAX_FLIE_MB" in refused.value.message
    assert "did you mean TENSORAS_MAX_FILE_MB?" in refused.value.message
    with pytest.raises(ConfigurationError, match=r"unset it"):
        reject_unknown_variables({"TENSORAS_ZZZZZZZ": "5"}, ALL)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        reject_unknown_variables({"TENSORAS_HOTS": "5", "tensoras_prot": "1"}, ALL)
    assert "TENSORAS_HOTS" in refused.value.message
    assert "tensoras_prot" in refused.value.message


def test_known_variables_pass() -> None:
    known = {name: "1" for kind in ALL for name in variable_names(kind)}
    assert {"TENSORAS_HOST", "TENSORAS_ENGINE_TIMEOUT", "TENSORAS_LEASE_SECONDS"} <= set(known)
    reject_unknown_variables({**known, "TENSORAS_EXTRA": "1"}, ALL, also=["TENSORAS_EXTRA"])
    reject_unknown_variables({"TENSORAS_HOST__X": "1", "tensoras_host": "1"}, ALL)


def test_aliases_count() -> None:
    class Section(BaseSettings):
        first: str = Field(default="", validation_alias=AliasChoices("TENSORAS_ONE", "TENSORAS_TWO"))

    reject_unknown_variables({"TENSORAS_ONE": "", "TENSORAS_TWO": ""}, [Section])
