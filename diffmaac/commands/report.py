"""What a command that measures has to say."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True)
class Report:
    """The table, what to know about it, and the files written."""

    table: Table
    lines: list[str]
    files: list[Path]
