"""Tables as CSV and records as JSON on disk. Each file is replaced in one rename, so that none is ever half written."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Kind = TypeVar("Kind", list, dict)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file in one rename."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def read_json(path: Path, kind: type[Kind], *names: str) -> Kind | None:
    """What `write_json` wrote: a dict with numbers under `names`, or a list of such.

    None where there is no file or it holds something else, so that it can be measured again.
    """
    try:
        content = json.loads(path.read_text()) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, kind):
        return None
    records = content if isinstance(content, list) else [content]
    whole = all(isinstance(x, dict) and all(isinstance(x.get(n), int | float) for n in names) for x in records)
    return content if whole else None


def write_json(path: Path, content: Any) -> None:
    """Writes `content` in one rename."""
    replace_text(path, json.dumps(content, indent=1))


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file, in one rename, with all columns that a row has; a cell that a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def write_between(page: Path, markers: tuple[str, str], text: str) -> None:
    """Replaces what stands between the two `markers` of a text file."""
    content = page.read_text()
    before, after = content.split(markers[0])[0], content.split(markers[1])[1]
    page.write_text(f"{before}{markers[0]}\n\n{text}\n\n{markers[1]}{after}")
