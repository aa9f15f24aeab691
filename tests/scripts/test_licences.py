"""The judge of licences: what it accepts, what it refuses, and that the page in docs is its work."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import licences
import pytest
from hypothesis import given
from hypothesis import strategies as st
from licences import BEGIN, END, Entry, closure, declared, permissive, with_table
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


# expressions -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "Apache-2.0 OR GPL-3.0-only",
        "GPL-2.0-only OR MIT",
        "MIT AND PSF-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception",
        "MIT AND (GPL-3.0-only OR (BSD-3-Clause AND ISC))",
    ],
)
def test_permissive(expression: str) -> None:
    assert permissive(expression)


@pytest.mark.parametrize(
    "expression",
    [
        None,
        "",
        "unknown",
        "GPL-3.0-only",
        "AGPL-3.0-or-later",
        "MPL-2.0 AND (Apache-2.0 OR MIT)",
        "GPL-3.0-only WITH GCC-exception-3.1",
        "MIT AND",
        "MIT OR",
        "(MIT",
        "MIT)",
        "MIT MIT",
        "Do what you like",
        "()",
        "OR MIT",
    ],
)
def test_not_permissive(expression: str | None) -> None:
    assert not permissive(expression)


@given(st.text(alphabet="MITGPLANDORWH() -", max_size=30))
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert permissive(text) in (True, False)


@given(st.lists(st.sampled_from(["MIT", "ISC", "GPL-3.0-only"]), min_size=1, max_size=6))
def test_and_needs_all_and_or_needs_one(names: list[str]) -> None:
    good = [name != "GPL-3.0-only" for name in names]
    assert permissive(" AND ".join(names)) == all(good)
    assert permissive(" OR ".join(names)) == any(good)


# declarations ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("expression", "field", "classifiers", "licence"),
    [
        ("MIT", "GPL", ["License :: OSI Approved :: BSD License"], "MIT"),
        (None, "MIT License", [], "MIT"),
        (None, None, ["License :: OSI Approved :: MIT License"], "MIT"),
        (None, "Permission is hereby granted\nto all", ["License :: OSI Approved :: MIT License"], "MIT"),
        (None, "x" * 100, ["License :: OSI Approved :: BSD License"], "BSD"),
        (None, "BSD-3-Clause", ["License :: OSI Approved :: BSD License"], "BSD-3-Clause"),
        (None, "MIT", ["License :: OSI Approved :: Apache Software License"], None),
        (None, None, ["License :: OSI Approved :: A", "License :: OSI Approved :: B"], None),
        (None, None, [], None),
        (None, "", [], None),
    ],
)
def test_declared(expression: str | None, field: str | None, classifiers: list[str], licence: str | None) -> None:
    assert declared(expression, field, classifiers)[0] == licence


def test_an_unknown_or_copyleft_package_is_refused_and_a_reviewed_one_is_not() -> None:
    assert not Entry("thing", None, "says nothing").accepted
    assert not Entry("thing", "GPL-3.0-only", "License field").accepted
    assert Entry("certifi", "MPL-2.0", "License field").accepted
    assert Entry("nvidia-cublas", "LicenseRef-NVIDIA", "License field").accepted
    assert not Entry("nvidiaish", "LicenseRef-NVIDIA", "License field").accepted


# the closure -------------------------------------------------------------------------------------------
def test_the_closure_follows_dependencies_and_extras() -> None:
    with_extra = closure(["uvicorn[standard]"])
    assert {"uvicorn", "click", "h11", "uvloop"} <= set(with_extra)
    assert "uvloop" not in closure(["uvicorn"])


def test_a_marker_that_is_not_met_leaves_a_package_out() -> None:
    assert closure(["no-such-package; sys_platform == 'amiga'"]) == []


def test_a_missing_package_is_an_error_and_not_left_out() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        closure(["no-such-package"])


# this repository ---------------------------------------------------------------------------------------
def test_every_package_of_this_environment_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    before = licences.PAGE.read_bytes()
    assert licences.main(["--check"]) == 0
    assert "all accepted" in capsys.readouterr().out
    assert licences.PAGE.read_bytes() == before


def test_a_refused_package_ends_with_its_name_and_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(licences, "REVIEWED", {})
    assert licences.main(["--check"]) == 1
    assert "certifi: MPL-2.0" in capsys.readouterr().out


def test_the_page_names_every_direct_dependency() -> None:
    page = licences.PAGE.read_text(encoding="utf-8")
    direct = licences.runtime_requirements(licences.ROOT / "pyproject.toml")
    names = [canonicalize_name(Requirement(text).name) for text in direct]
    assert [name for name in names if f"| {name} |" not in page] == []


def test_rewriting_keeps_the_rest_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "licences.md"
    page.write_text(f"# Head\n\n{BEGIN}\nold\n{END}\n\nTail\n", encoding="utf-8")
    monkeypatch.setattr(licences, "PAGE", page)
    assert licences.main([]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Head\n")
    assert text.endswith("\n\nTail\n")
    assert "old" not in text
    assert "| fastapi | MIT |" in text


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="lost its marks"):
        with_table(page, "table")


def test_no_override_is_idle() -> None:
    """Each one stands because the metadata alone does not do; when that is mended, it can go."""
    for name in licences.OVERRIDES:
        fields = metadata.metadata(name)
        classifiers = [c for c in fields.get_all("Classifier") or [] if c.startswith("License :: ")]
        assert not permissive(declared(fields["License-Expression"], fields["License"], classifiers)[0])
