"""EPUB: the chapters of the spine in reading order, each read as HTML."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

from ingestion.parse.archive import Archive
from ingestion.parse.canonical import Canonical
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.html import decode_html, write_html
from ingestion.parse.mime import EPUB
from ingestion.parse.xml import Element, attribute, every, parse_xml
from rag.errors import DocumentError

_PAGES = (".xhtml", ".html", ".htm", ".xml")


def parse_epub(path: Path) -> ParsedDocument:
    """One document from an EPUB. Raises DocumentError needs_password for one under copy protection."""
    with Archive(path) as archive:
        package = _package(archive)
        root = parse_xml(archive.read(package), recover=True)
        chapters = _spine(archive, package, root)
        _refuse_protected(archive, chapters)
        out = Canonical()
        for chapter in chapters:
            write_html(decode_html(archive.read(chapter)), out)
        title = next(every(root, "title"), None)
        return out.build(EPUB, title.text if title is not None else None)


def _package(archive: Archive) -> str:
    data = archive.read_optional("META-INF/container.xml")
    if data is not None:
        for item in every(parse_xml(data, recover=True), "rootfile"):
            name = unquote(attribute(item, "full-path") or "")
            if name in archive:
                return name
    for name in archive.names:
        if name.endswith(".opf"):
            return name
    raise DocumentError("corrupt_document", "The EPUB does not say where its chapters are. Export it again.")


def _spine(archive: Archive, package: str, root: Element) -> list[str]:
    folder = posixpath.dirname(package)
    parts = {
        attribute(item, "id") or "": posixpath.normpath(posixpath.join(folder, unquote(attribute(item, "href") or "")))
        for item in every(root, "item")
    }
    listed = [parts.get(attribute(item, "idref") or "", "") for item in every(root, "itemref")]
    chapters = [name for name in dict.fromkeys(listed) if name in archive]
    return chapters or sorted(name for name in archive.names if name.lower().endswith(_PAGES[:3]))


def _refuse_protected(archive: Archive, chapters: list[str]) -> None:
    """Fonts may be scrambled in any book; chapters only by copy protection."""
    data = archive.read_optional("META-INF/encryption.xml")
    if data is None:
        return
    locked = {unquote(attribute(item, "URI") or "") for item in every(parse_xml(data, recover=True), "CipherReference")}
    if locked.intersection(chapters):
        raise DocumentError(
            "needs_password", "The book is under copy protection (DRM). Upload a copy without protection."
        )
