"""A lint: no function that the service can reach may forget the tenant."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import ingestion

ROOT = Path(ingestion.__file__).parent
FACING = ["knowledge_bases", "sources", "documents", "jobs", "submissions", "deletions", "settle"]
WORKERS_ONLY = {"ledger", "upkeep"}


@pytest.mark.parametrize("name", FACING)
def test_every_function_of_the_catalog_takes_the_tenant(name: str) -> None:
    module = importlib.import_module(f"ingestion.catalog.{name}")
    functions = [
        function
        for function in vars(module).values()
        if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__
    ]
    assert functions
    for function in functions:
        parameters = inspect.signature(function).parameters
        if "connection" in parameters and function.__name__ not in ("_ending", "_mark", "_remove"):
            assert "tenant" in parameters, f"{name}.{function.__name__} does not say whose rows it means"
            assert parameters["tenant"].default is inspect.Parameter.empty


def test_every_module_of_the_catalog_is_on_one_side() -> None:
    modules = {path.stem for path in (ROOT / "catalog").glob("*.py")}
    assert modules == {*FACING, *WORKERS_ONLY, "__init__", "rows", "tables"}


@pytest.mark.parametrize("name", ["service", "intake"])
def test_the_service_does_not_reach_the_workers_side(name: str) -> None:
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    imported = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & (WORKERS_ONLY | {f"ingestion.catalog.{name}" for name in WORKERS_ONLY})


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.stem)
def test_sql_stays_in_the_catalog(path: Path) -> None:
    """Outside, only the database module and type names may come from SQLAlchemy."""
    if path.stem == "database":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            assert {alias.name for alias in node.names} <= {"AsyncConnection", "RowMapping"}
