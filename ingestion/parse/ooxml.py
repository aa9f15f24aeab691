"""What Word, PowerPoint and Excel files share: parts and the relationships between them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from urllib.parse import unquote

from ingestion.parse.archive import Archive
from ingestion.parse.xml import Element, attribute, every, parse_xml
from rag.errors import DocumentError


@dataclass(frozen=True, slots=True)
class Relation:
    """`kind` is the last word of the relationship's type URI, lower case: slide, notesslide, footnotes …"""

    id: str
    kind: str
    target: str


class Package:
    """An Office file: parts by name, relations by part."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def relations(self, part: str) -> list[Relation]:
        """Internal relations of a part, in file order; empty where it has none or they are damaged."""
        folder, name = posixpath.split(part)
        data = self.archive.read_optional(posixpath.join(folder, "_rels", f"{name}.rels"))
        if data is None:
            return []
        found = []
        for item in every(parse_xml(data, recover=True), "Relationship"):
            target = attribute(item, "Target")
            if target and (attribute(item, "TargetMode") or "").lower() != "external":
                kind = (attribute(item, "Type") or "").rpartition("/")[2].lower()
                found.append(Relation(attribute(item, "Id") or "", kind, _resolve(folder, target)))
        return found

    def related(self, part: str, kind: str) -> list[str]:
        """Targets of one kind that exist."""
        return [item.target for item in self.relations(part) if item.kind == kind and item.target in self.archive]

    def main_part(self, *usual: str) -> str:
        """The document part: where the package's relations point, or else a usual name."""
        for name in (*self.related("", "officedocument"), *usual):
            if name in self.archive:
                return name
        raise DocumentError(
            "corrupt_document",
            "The file's main part is missing. Open it in the program that made it, save it again and upload it.",
        )

    def xml(self, part: str) -> Element:
        return parse_xml(self.archive.read(part))

    def title(self) -> str | None:
        """The title in the document's properties."""
        for part in (*self.related("", "core-properties"), "docProps/core.xml"):
            if part in self.archive:
                found = next(every(parse_xml(self.archive.read(part), recover=True), "title"), None)
                return found.text if found is not None else None
        return None


def _resolve(folder: str, target: str) -> str:
    path = unquote(target.partition("#")[0]).replace("\\", "/")
    joined = path.lstrip("/") if path.startswith("/") else posixpath.join(folder, path)
    return posixpath.normpath(joined)
