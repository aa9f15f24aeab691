"""Settings of the gateway, and the check that no setting is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rag.errors import ConfigurationError

PREFIX = "TENSORAS_"
MEGABYTE = 1024 * 1024


class ServingSettings(BaseSettings):
    """How the gateway listens, whom it lets in and how much it takes. Read by composition roots only."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    """0 lets the system choose a free port."""
    data_dir: Path = Path(".tensoras")
    bootstrap_key: SecretStr | None = None
    """The operator's key. When unset one is made on the first start and shown once."""
    public_url: str | None = None
    """Base of the links in answers, without /v1; taken from each request when unset."""
    max_body_mb: int = Field(default=10, ge=1, le=1024)
    """Largest JSON body."""
    max_file_mb: int = Field(default=512, ge=1)
    """Largest uploaded file."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins that may call the API from a browser, separated by commas; none by default."""
    default_rpm: int = Field(default=6000, ge=1)
    """Requests per minute of a key that has no limit of its own."""
    default_tpm: int = Field(default=10_000_000, ge=1)
    """Tokens per minute of a key that has no limit of its own."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("bootstrap_key")
    @classmethod
    def _strong(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value() if value else ""
        if value and (len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key):
            raise ValueError("a key has at least 16 characters, ASCII and without spaces")
        return value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("begins with http:// or https://")
        return value.rstrip("/") if value else value

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * MEGABYTE

    @property
    def max_file_bytes(self) -> int:
        return self.max_file_mb * MEGABYTE


def variable_names(settings: type[BaseSettings]) -> Iterator[str]:
    """The environment variables that a settings class reads, in capitals."""
    prefix = settings.model_config.get("env_prefix", "")
    for name, info in settings.model_fields.items():
        alias = info.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (choice.upper() for choice in alias.choices if isinstance(choice, str))
        elif isinstance(alias, str):
            yield alias.upper()
        else:
            yield f"{prefix}{name}".upper()


def reject_unknown_variables(
    environment: Mapping[str, str], settings: Iterable[type[BaseSettings]], *, also: Iterable[str] = ()
) -> None:
    """Raises ConfigurationError for a `TENSORAS_…` variable that nothing reads: a typo is no default.

    `also` names variables that are read elsewhere. A name under a section (`NAME__KEY`) counts as `NAME`.
    """
    known = {name for kind in settings for name in variable_names(kind)} | {name.upper() for name in also}
    sentences = [
        _unknown(name, known)
        for name in sorted(environment)
        if name.upper().startswith(PREFIX) and name.upper().split("__")[0] not in known
    ]
    if sentences:
        raise ConfigurationError(" ".join(sentences))


def _unknown(name: str, known: Iterable[str]) -> str:
    # Without the prefix, which they all share and which would make any two names alike.
    tails = [other.removeprefix(PREFIX) for other in known if other.startswith(PREFIX)]
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), tails, n=1, cutoff=0.6)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else "unset it; `tensoras settings` lists the names."
    return f"{name} is not a setting of this server: {hint}"
