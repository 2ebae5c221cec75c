"""Writes the generated part of docs/: a page and a picture for each cell, what is supported, the file format.

    python tools/make_docs.py            writes docs/
    python tools/make_docs.py FOLDER     writes into another folder
Needs the extra `docs` (python -m pip install -e '.[docs]'). The text around the tables is in tools/docs_templates, what is known about the
cells beside their dataflow in tools/docs_notes.py. Nothing depends on the machine or the date: the same code gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docs_adding import adding_page
from docs_cells import cell_pages
from docs_format import format_page
from docs_import import imports
from docs_support import support_page
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge_lstm import files

HERE = Path(__file__).resolve().parent
ENVIRONMENT = Environment(loader=FileSystemLoader(HERE / "docs_templates"), undefined=StrictUndefined, keep_trailing_newline=True)


def render(template: str, **values: Any) -> str:
    return ENVIRONMENT.get_template(template).render(**values)


def generate() -> dict[str, str]:
    """Path below docs -> text of every generated file."""
    return {**cell_pages(render), **support_page(render), **imports(render), **format_page(render), **adding_page(render)}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "docs"
    for name, text in generate().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)


if __name__ == "__main__":
    main()
