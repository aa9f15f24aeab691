"""Writes the table of licences into docs/licences.md, and fails on one that nobody has looked at.

    python scripts/licences.py            rewrite the table
    python scripts/licences.py --check    only judge, write nothing

What is judged is what a user installs: the dependencies of pyproject.toml and all that they need, as the
running environment has them. Test tools are left out. The licence is what the package says of itself
(License-Expression, else the License field, else its classifiers); where those are silent or disagree,
OVERRIDES decides.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
BEGIN = "<!-- packages: begin (written by scripts/licences.py) -->"
END = "<!-- packages: end -->"

PERMISSIVE = frozenset(
    (
        *("0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python"),
        *("ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib"),
    )
)
"""`BSD` stands for packages that do not say which BSD licence they mean; all of those are permissive."""

NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
}
"""Names in use before SPDX expressions, in small letters."""

OVERRIDES = {
    "langdetect": (
        "Apache-2.0",
        "the metadata names MIT and Apache; the licence file is Apache-2.0",
    ),
    "pypdfium2": (
        "BSD-3-Clause AND Apache-2.0",
        "the field adds “dependency licenses”: those of PDFium, permissive, lie in the wheel",
    ),
    "python-dateutil": (
        "Apache-2.0 OR BSD-3-Clause",
        "the field says “Dual License”; the licence file names both",
    ),
}
"""Package: (licence, why the metadata does not do)."""

REVIEWED = {
    "certifi": "MPL-2.0 covers the certificate list itself, which is used unchanged",
    "orjson": "MPL-2.0 covers files of the package, which are used unchanged",
    "tqdm": "MPL-2.0 covers files of the package, which are used unchanged",
    "nvidia-*": "NVIDIA's own terms; come only with a CUDA build of torch, and are not passed on by us",
}
"""Not permissive, but looked at, with the reason why it may stay. A trailing * stands for any ending."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One package. `licence` is None where it says nothing that we understand."""

    name: str
    licence: str | None
    basis: str

    @property
    def note(self) -> str:
        """Why a package that is not permissive may stay; empty for the others."""
        return "" if permissive(self.licence) else _reviewed(self.name) or ""

    @property
    def accepted(self) -> bool:
        return permissive(self.licence) or _reviewed(self.name) is not None


def _reviewed(name: str) -> str | None:
    for pattern, reason in REVIEWED.items():
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            return reason
    return None


# which packages --------------------------------------------------------------------------------------
def runtime_requirements(pyproject: Path) -> list[str]:
    return list(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"])


def closure(requirements: Iterable[str]) -> list[str]:
    """Canonical names of all packages that the requirements bring along here, sorted.

    Raises importlib.metadata.PackageNotFoundError for one that is needed and not installed.
    """
    seen: dict[str, set[str]] = {}
    todo = [Requirement(text) for text in requirements]
    while todo:
        requirement = todo.pop()
        if not _wanted(requirement, {""}):
            continue
        name = canonicalize_name(requirement.name)
        if name in seen and requirement.extras <= seen[name]:
            continue
        extras = seen.setdefault(name, set())
        extras |= requirement.extras
        todo.extend(_needed_by(name, extras))
    return sorted(seen)


def _needed_by(name: str, extras: set[str]) -> Iterator[Requirement]:
    for text in metadata.distribution(name).requires or ():
        requirement = Requirement(text)
        if _wanted(requirement, {"", *extras}):
            requirement.marker = None  # judged here, with the extras of its parent
            yield requirement


def _wanted(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


# what they say ---------------------------------------------------------------------------------------
def entry(name: str) -> Entry:
    if name in OVERRIDES:
        return Entry(name, *OVERRIDES[name])
    fields = metadata.metadata(name)
    classifiers = [c for c in fields.get_all("Classifier") or [] if c.startswith("License :: ")]
    return Entry(name, *declared(fields["License-Expression"], fields["License"], classifiers))


def declared(expression: str | None, field: str | None, classifiers: Iterable[str]) -> tuple[str | None, str]:
    """The licence of a package and where it says so; None where it is silent or contradicts itself."""
    if expression:
        return expression, "License-Expression"
    named = {_spdx(classifier.rsplit(" :: ", 1)[1]) for classifier in classifiers}
    short = field if field and len(field) < 80 and "\n" not in field else None  # else it is a whole text
    said = _spdx(short) if short else None
    if said and (not named or said in named or _kin(said, named)):
        return said, "License field"
    if said:
        return None, f"the License field says {said}, the classifiers say {' and '.join(sorted(named))}"
    if len(named) == 1:
        return named.pop(), "classifier"
    return None, "says nothing" if not named else f"the classifiers say {' and '.join(sorted(named))}"


def _spdx(name: str) -> str:
    return NAMES.get(name.strip().lower(), name.strip())


def _kin(said: str, named: set[str]) -> bool:
    """BSD in the classifiers and BSD-3-Clause in the field do not contradict each other."""
    return said.startswith("BSD") and "BSD" in named


# how they are judged ---------------------------------------------------------------------------------
def permissive(licence: str | None) -> bool:
    """Whether an SPDX expression can be met by permissive licences alone; False for what is no expression."""
    if not licence:
        return False
    tokens = re.findall(r"\(|\)|[^\s()]+(?:\s+WITH\s+[^\s()]+)?", licence)
    try:
        verdict = _either(tokens)
    except IndexError:
        return False
    return verdict and not tokens


def _either(tokens: list[str]) -> bool:
    verdict = _both(tokens)
    while tokens and tokens[0].upper() == "OR":
        tokens.pop(0)
        verdict = _both(tokens) or verdict
    return verdict


def _both(tokens: list[str]) -> bool:
    verdict = _single(tokens)
    while tokens and tokens[0].upper() == "AND":
        tokens.pop(0)
        verdict = _single(tokens) and verdict
    return verdict


def _single(tokens: list[str]) -> bool:
    token = tokens.pop(0)
    if token != "(":
        return re.split(r"\s+WITH\s+", token)[0] in PERMISSIVE  # an exception only ever permits more
    verdict = _either(tokens)
    return tokens.pop(0) == ")" and verdict


# the page --------------------------------------------------------------------------------------------
def table(entries: Iterable[Entry]) -> str:
    lines = ["| package | licence | said by |", "|---|---|---|"]
    for item in entries:
        basis = f"{item.basis}; {item.note}" if item.note else item.basis
        lines.append(f"| {item.name} | {item.licence or 'unknown'} | {basis} |")
    return "\n".join(lines)


def with_table(page: str, text: str) -> str:
    """The page with what stands between the two marks replaced. Raises ValueError when a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has lost its marks: put {BEGIN!r} and {END!r} back")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(arguments: list[str]) -> int:
    entries = [entry(name) for name in closure(runtime_requirements(ROOT / "pyproject.toml"))]
    refused = [item for item in entries if not item.accepted]
    for item in refused:
        print(f"{item.name}: {item.licence or 'unknown'} ({item.basis})")
    if refused:
        print("Look at them, then put each into OVERRIDES or REVIEWED of scripts/licences.py with the reason.")
        return 1
    if "--check" not in arguments:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(entries)), encoding="utf-8")
    print(f"{len(entries)} packages, all accepted.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
