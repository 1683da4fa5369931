"""Measurements on disk: what a run logged, tables as CSV, what they were made with, and their place in a page."""

import csv
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from diffmaac.errors import CheckpointError, SettingError

METRICS = "metrics.csv"
"""The file of a run that has a row for each of its evaluations."""
EVALUATION = "evaluation.json"
"""The file of a run that has its evaluation after training, and what it was made with."""
EVALUATED = ("seconds", "return", "return_std")
"""Numbers that every row has, beside its step."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as text, every cell a number or empty; none where there is no file.

    Raises CheckpointError where it is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows = read_table(path)
        for row in rows:
            if not all(math.isfinite(float(row[name])) for name in ("step", *EVALUATED)):
                raise ValueError
            _ = int(row["step"])
            _ = [float(cell) for cell in row.values() if cell != ""]  # of a row too short or too long one is no text
    except (csv.Error, KeyError, TypeError, ValueError) as error:  # ValueError: not UTF-8, too
        raise CheckpointError(f"'{path}' is damaged: not every row has the numbers of an evaluation.") from error
    return rows


def evaluations(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv of the run in `path`.

    Raises SettingError where there is none yet, CheckpointError where the file is damaged.
    """
    rows = read_metrics(path / METRICS)
    if not rows:
        raise SettingError(f"'{path}' has no evaluation yet: its {METRICS} is missing or empty.")
    return rows


def versions(*packages: str) -> str:
    """`name==version` of installed packages, separated by spaces."""
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in packages)


def machine() -> str:
    """The processor, by name where Linux tells it, and the number of cores."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {os.cpu_count()} cores"


def circumstances() -> dict[str, str]:
    """What a measurement of runs was made with and on."""
    return {"versions": versions("diffmaac", "torch", "mujoco"), "machine": machine()}


def made_with(path: Path) -> dict[str, str]:
    """The circumstances of the run in `path`, as its evaluation after training has them; empty where it has none."""
    said = read_json(path / EVALUATION, dict) or {}
    return {name: said.get(name, "") for name in ("versions", "machine")}


Kind = TypeVar("Kind", list, dict)


def read_json(path: Path, kind: type[Kind], *names: str) -> Kind | None:
    """What `write_json` wrote: a dict with numbers under `names`, or a list of such.

    None where there is no file or it holds something else, so that it can be measured again.
    """
    try:
        content = json.loads(path.read_text()) if path.is_file() else None
    except ValueError:
        return None
    if not isinstance(content, kind):
        return None
    records = content if isinstance(content, list) else [content]
    whole = all(isinstance(x, dict) and all(isinstance(x.get(n), int | float) for n in names) for x in records)
    return content if whole else None


def write_json(path: Path, content: Any) -> None:
    """Writes `content` in one rename."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with the columns of the first row, which all share."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_between(page: Path, markers: tuple[str, str], text: str) -> None:
    """Replaces what stands between the two `markers` of a text file."""
    content = page.read_text()
    before, after = content.split(markers[0])[0], content.split(markers[1])[1]
    page.write_text(f"{before}{markers[0]}\n\n{text}\n\n{markers[1]}{after}")
