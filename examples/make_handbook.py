"""Render the example documents: `python examples/make_handbook.py [folder]`.

The words are in `handbook_source/`, one renderer per family of formats in `handbook_render/`. Running it
again gives the same bytes, so a changed file in `examples/handbook/` always means changed words.
"""

from __future__ import annotations

import sys
from pathlib import Path

from handbook_render.office import render_docx, render_pptx, render_xlsx
from handbook_render.pdf import render_pdf
from handbook_render.plain import render_csv, render_html, render_markdown, render_text
from handbook_source.blocks import Deck, Document, Records, Workbook
from handbook_source.catalogue import HANDBOOK

FOLDER = Path(__file__).parent / "handbook"
_PROSE = {
    ".pdf": render_pdf,
    ".docx": render_docx,
    ".html": render_html,
    ".md": render_markdown,
    ".txt": render_text,
}


def render(item: Document | Deck | Workbook | Records) -> bytes:
    """The bytes of one file. A Document's suffix says its format; an unknown one is a KeyError."""
    match item:
        case Deck():
            return render_pptx(item)
        case Workbook():
            return render_xlsx(item)
        case Records():
            return render_csv(item)
        case Document():
            return _PROSE[Path(item.name).suffix](item)


def render_all() -> dict[str, bytes]:
    return {item.name: render(item) for item in HANDBOOK}


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in render_all().items():
        (folder / name).write_bytes(body)
        print(f"{len(body):>8,} bytes  {folder / name}")


if __name__ == "__main__":
    main(sys.argv[1:])
