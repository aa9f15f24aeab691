"""The few shapes that every document is written in, whatever format it is rendered to."""

from __future__ import annotations

from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 1


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class PageBreak:
    """Ends the page where pages exist; other formats ignore it."""


Block = Heading | Text | Bullets | Table | PageBreak


@dataclass(frozen=True, slots=True)
class Document:
    """A document of running text: PDF, DOCX, HTML, Markdown or plain text, by the suffix of `name`."""

    name: str
    title: str
    subtitle: str
    blocks: tuple[Block, ...]
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Slide:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Deck:
    name: str
    title: str
    subtitle: str
    slides: tuple[Slide, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """Row 1 is the header; numbers stay numbers."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Workbook:
    name: str
    title: str
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """A CSV file: header and rows."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
