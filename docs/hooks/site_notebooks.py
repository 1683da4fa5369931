"""The tutorials as notebooks: from the same Markdown as the pages, to be downloaded and run."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BLOCK = re.compile(r"^```python\n(.*?)^```\n?", re.M | re.S)
LINK = re.compile(r"!?\[([^]]+)\]\((?!https?:)[^)]*\)")
"""A link to another page or a picture, which a file of its own cannot reach: its words stay."""


def notebook(markdown: str) -> nbformat.NotebookNode:
    """A page's Python as cells of code, and what stands between as text."""
    cells, last = [], 0
    for block in BLOCK.finditer(markdown):
        cells += [*_text(markdown[last : block.start()]), new_code_cell(block[1].rstrip())]
        last = block.end()
    return new_notebook(
        cells=_numbered([*cells, *_text(markdown[last:])]), metadata={"language_info": {"name": "python"}}
    )


def _text(markdown: str) -> list[nbformat.NotebookNode]:
    words = LINK.sub(r"\1", markdown).strip()
    return [new_markdown_cell(words)] if words else []


def _numbered(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """With names that are the same in each build."""
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return cells


def write(markdown: str, file: Path) -> None:
    """Writes a page as a notebook, its directory made where it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(markdown), file)


def offer(page: str) -> str:
    """The line of a page, by its file's name, that offers its notebook."""
    return f'\n\n<a href="../{Path(page).stem}.ipynb" download>This page as a notebook</a>\n'
