"""Settings of ingestion. Only composition roots read them; the three URLs have no default on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag.errors import TensorasError, Unavailable

_LONGEST_PAUSE = 300.0


class IngestionSettings(BaseSettings):
    """Where state lives and how workers behave. Read from the environment or given by name."""

    model_config = SettingsConfigDict(extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    database_url: str = Field(alias="DATABASE_URL")
    broker_url: str = Field(alias="BROKER_URL")
    blob_url: str = Field(alias="BLOB_URL")

    data_dir: Path = Field(default=Path(".tensoras"), alias="TENSORAS_DATA_DIR")
    worker_concurrency: int = Field(default=2, ge=1, le=64, alias="TENSORAS_WORKER_CONCURRENCY")
    """Documents that one worker process ingests at the same time."""
    lease_seconds: float = Field(default=15.0, gt=0.1, alias="TENSORAS_LEASE_SECONDS")
    """How long a silent worker keeps a document before another one may take it."""
    heartbeat_seconds: float = Field(default=5.0, gt=0.01, alias="TENSORAS_HEARTBEAT_SECONDS")
    sweep_seconds: float = Field(default=3.0, gt=0.01, alias="TENSORAS_SWEEP_SECONDS")
    stop_seconds: float = Field(default=8.0, ge=0, alias="TENSORAS_STOP_SECONDS")
    """How long a document in work may go on after SIGTERM."""
    slice_seconds: float = Field(default=10.0, gt=0, alias="TENSORAS_SLICE_SECONDS")
    """After this long a job gives its place to the next one in the queue."""
    max_attempts: int = Field(default=5, ge=1, alias="TENSORAS_MAX_ATTEMPTS")
    max_crashes: int = Field(default=3, ge=1, alias="TENSORAS_MAX_CRASHES")
    retry_seconds: float = Field(default=2.0, gt=0, alias="TENSORAS_RETRY_SECONDS")
    """Pause after the first failed attempt; each later one is four times as long, five minutes at most."""
    embed_batch: int = Field(default=64, ge=1, le=1024, alias="TENSORAS_EMBED_BATCH")
    parse_timeout: float = Field(default=300.0, gt=0, alias="TENSORAS_PARSE_TIMEOUT")
    parse_memory_mb: int = Field(default=1500, ge=64, alias="TENSORAS_PARSE_MEMORY_MB")
    max_file_mb: int = Field(default=512, ge=1, alias="TENSORAS_MAX_FILE_MB")


@dataclass(frozen=True, slots=True)
class Policy:
    """Retries and leases as data; times in seconds."""

    lease_seconds: float = 15.0
    heartbeat_seconds: float = 5.0
    slice_seconds: float = 10.0
    max_attempts: int = 5
    max_crashes: int = 3
    retry_seconds: float = 2.0
    embed_batch: int = 64
    max_file_mb: int = 512
    sweep_seconds: float = 3.0
    redispatch_seconds: float = 5.0
    """How old a dispatch must be before the sweeper believes that its message is lost."""
    stop_seconds: float = 8.0

    @classmethod
    def of(cls, settings: IngestionSettings) -> Policy:
        return cls(**{name: getattr(settings, name) for name in cls.__slots__ if hasattr(settings, name)})

    def pause(self, attempts: int, error: TensorasError) -> float:
        """How long to wait after the `attempts`th attempt failed: four times as long each time."""
        pause = self.retry_seconds * 4.0 ** min(attempts - 1, 10)
        asked = error.retry_after if isinstance(error, Unavailable) else 0.0
        return min(max(pause, asked), _LONGEST_PAUSE)
