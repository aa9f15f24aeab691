"""The command `tensoras`. Heavy modules are imported inside the commands: `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError

app = typer.Typer(
    name="tensoras",
    help="Self-hosted RAG behind the OpenAI API, with checked citations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one (8000).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all local data (~/.tensoras).")] = None,
) -> None:
    """Start the server, with a local part for each URL that is not set."""
    from serving.main import run
    from serving.settings import ServingSettings

    given: dict[str, Any] = {"host": host, "port": port, "data_dir": data_dir}
    settings = ServingSettings(**{name: value for name, value in given.items() if value is not None})
    raise typer.Exit(run(settings))


@app.command()
def worker() -> None:
    """Run an ingestion worker (needs DATABASE_URL, BROKER_URL, BLOB_URL and QDRANT_URL)."""
    from ingestion.worker import main as work

    raise typer.Exit(work())


@app.command()
def settings() -> None:
    """Show the settings in force; secrets are hidden."""
    from serving.describe import lines

    for line in lines():
        typer.echo(line)


@app.command()
def version() -> None:
    """Show the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        typer.echo(version_of("tensoras-server"))
    except PackageNotFoundError:
        typer.echo("0 (not installed)")


def explain(error: ValidationError) -> str:
    """One line that names each wrong setting; never its value."""
    from serving.settings import ServingSettings

    prefix = str(ServingSettings.model_config.get("env_prefix", ""))
    own = error.title == ServingSettings.__name__
    parts = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in detail["loc"])
        parts.append(f"{prefix + name.upper() if own else name}: {detail['msg']}")
    return "the settings are not valid. " + "; ".join(parts)


def main() -> None:
    """Entry point. Errors that we know are one sentence and exit code 1."""
    try:
        app()
    except Exception as error:  # the outermost place; what is not ours goes on
        sentence = _sentence(error)
        if sentence is None:
            raise
        sys.stderr.write(f"tensoras: {sentence}\n")
        sys.exit(1)


def _sentence(error: Exception) -> str | None:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from rag.errors import TensorasError

    if isinstance(error, TensorasError):
        return error.message
    if isinstance(error, ValidationError):
        return explain(error)
    if isinstance(error, SettingsError):
        return f"a setting is not valid JSON: {error}"
    return None


if __name__ == "__main__":
    main()
