"""PowerPoint files: one page per slide, in the order of the show, with tables, groups, diagrams, charts and
notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion.parse.archive import Archive
from ingestion.parse.canonical import Canonical, fold
from ingestion.parse.elements import ParsedDocument
from ingestion.parse.mime import PPTX
from ingestion.parse.ooxml import Package
from ingestion.parse.tables import Grid, markdown_table
from ingestion.parse.xml import Element, attribute, child, every, local
from rag.errors import DocumentError

MAX_SLIDES = 5_000
_TITLES = frozenset({"title", "ctrTitle"})
# Slide numbers, dates and footers repeat on every slide.
_FURNITURE = frozenset({"sldNum", "dt", "sldImg", "hdr"})
_CHARS = {"br": "\n", "tab": " "}


def parse_pptx(path: Path) -> ParsedDocument:
    """One document from a PowerPoint file (pptx, pptm, ppsx)."""
    with Archive(path) as archive:
        package = Package(archive)
        main = package.main_part("ppt/presentation.xml")
        slides = _slides(package, main)
        if len(slides) > MAX_SLIDES:
            raise DocumentError(
                "too_large",
                f"The presentation has more than {MAX_SLIDES:,} slides. Split it into smaller files.",
            )
        out = Canonical()
        for number, slide in enumerate(slides, 1):
            _Slide(out, package, slide).write(number)
        return out.build(PPTX, package.title())


def _slides(package: Package, main: str) -> list[str]:
    """Parts of the slides in the order of the show; in file order where the list is missing."""
    targets = {item.id: item.target for item in package.relations(main) if item.kind == "slide"}
    listed = [_relation_id(item) for item in every(package.xml(main), "sldId")]
    ordered = [targets[item] for item in listed if item in targets] or list(targets.values())
    return [part for part in ordered if part in package.archive]


def _relation_id(element: Element) -> str:
    """`r:id`; `id` alone is the slide's own number."""
    return next((str(value) for key, value in element.attrib.items() if str(key).endswith("}id")), "")


@dataclass
class _Slide:
    out: Canonical
    package: Package
    part: str

    def write(self, number: int) -> None:
        try:
            root = self.package.xml(self.part)
        except DocumentError as error:
            if error.code != "corrupt_document":
                raise
            self.out.page(number, "failed")
            return
        notes = list(self._notes())
        shapes = list(_shapes(root))
        has_words = notes or any(self._shape_words(shape) for shape in shapes)
        self.out.page(number, "text" if has_words else "blank")
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        for shape in titles:
            self.out.heading(1, " ".join(_paragraphs(shape)))
        for shape in shapes:
            if shape not in titles:
                self._shape(shape)
        for text in notes:
            self.out.block("paragraph", text)

    def _shape_words(self, shape: Element) -> bool:
        return any(item.text and item.text.strip() for item in every(shape, "t")) or bool(self._linked(shape))

    def _shape(self, shape: Element) -> None:
        table = next(every(shape, "tbl"), None)
        if table is not None:
            self.out.block("table", markdown_table(_cells(table)))
            return
        if _placeholder(shape) in _FURNITURE:
            return
        lines = [line for line in _paragraphs(shape) if line.strip()]
        bullets = len(lines) > 1 and (_placeholder(shape) or "") in {"body", "obj", ""} and _is_body(shape)
        if bullets:
            for line in lines:
                self.out.block("list_item", "- " + line.strip())
        elif lines:
            self.out.block("paragraph", "\n".join(lines))
        for text in self._linked(shape):
            self.out.block("paragraph", text)

    def _linked(self, shape: Element) -> list[str]:
        """Words of diagrams and charts, which live in parts of their own."""
        if local(shape) != "graphicFrame":
            return []
        wanted = {str(value) for item in shape.iter() for key, value in item.attrib.items() if "relationships" in key}
        texts = []
        for relation in self.package.relations(self.part):
            if relation.id in wanted and relation.target in self.package.archive:
                if relation.kind == "diagramdata":
                    texts.append("\n".join(_diagram(self.package.xml(relation.target))))
                elif relation.kind == "chart":
                    texts.append("\n".join(_chart(self.package.xml(relation.target))))
        return [text for text in texts if text.strip()]

    def _notes(self) -> Iterator[str]:
        for part in self.package.related(self.part, "notesslide"):
            for shape in _shapes(self.package.xml(part)):
                if _placeholder(shape) == "body":
                    text = "\n".join(line for line in _paragraphs(shape) if line.strip())
                    if text:
                        yield text


def _shapes(root: Element) -> Iterator[Element]:
    """Shapes, connectors, pictures and frames, groups taken apart, in drawing order."""
    stack = list(reversed(root))
    while stack:
        item = stack.pop()
        name = local(item)
        if name in {"sp", "graphicFrame", "cxnSp"}:
            yield item
        elif name and name != "Fallback":
            stack.extend(reversed(item))


def _placeholder(shape: Element) -> str | None:
    found = next(every(shape, "ph"), None)
    return (attribute(found, "type") or "body") if found is not None else None


def _is_body(shape: Element) -> bool:
    return next(every(shape, "ph"), None) is not None


def _paragraphs(shape: Element) -> Iterator[str]:
    for paragraph in every(shape, "p"):
        yield _words(paragraph)


def _words(paragraph: Element) -> str:
    parts: list[str] = []
    for item in paragraph.iter():
        name = local(item)
        if name == "t":
            parts.append(item.text or "")
        elif name in _CHARS:
            parts.append(_CHARS[name])
    return "".join(parts)


def _cells(table: Element) -> list[list[str]]:
    grid = Grid()
    above: dict[int, str] = {}
    for row in every(table, "tr"):
        grid.row()
        for column, cell in enumerate(item for item in row if local(item) == "tc"):
            text = " ".join(_paragraphs(cell))
            if attribute(cell, "vMerge") in {"1", "true"}:
                text = text.strip() or above.get(column, "")
            above[column] = text
            grid.cell(text)
    return grid.rows()


def _diagram(root: Element) -> Iterator[str]:
    for point in every(root, "pt"):
        text = fold(" ".join(_paragraphs(point)))
        if text:
            yield text


def _chart(root: Element) -> Iterator[str]:
    """Title and axis words, then one line per series: name, then category and value pairs."""
    for title in every(root, "title"):
        text = fold(" ".join(_paragraphs(title)))
        if text:
            yield text
    for series in every(root, "ser"):
        name, labels, values = (_cached(series, part) for part in ("tx", "cat", "val"))
        pairs = [f"{label}: {value}" for label, value in zip(labels, values, strict=False)]
        line = fold(" ".join(name) + (" – " if name and pairs else "") + ", ".join(pairs or values))
        if line:
            yield line


def _cached(series: Element, part: str) -> list[str]:
    holder = child(series, part)
    return [item.text or "" for item in every(holder, "v")] if holder is not None else []
