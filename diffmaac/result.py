"""What a command returns, from Python and on the command line alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Table:
    """Cells of text, a header above them, and a title ("" for none)."""

    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """The table as Markdown, without its title."""
        lines = [self.header, ["---"] * len(self.header), *self.cells]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@dataclass(frozen=True)
class Result(Generic[Value]):
    """A command's outcome: `value` for programs, `table` and `notes` for people, and the files that were written."""

    value: Value
    table: Table | None = None
    notes: Sequence[str] = ()
    """What to know about it, a sentence or two each."""
    left_out: Sequence[str] = ()
    """A line for each run or curve that could not be used."""
    files: Sequence[Path] = ()
    passed: bool = True
    """False where the command is a check, and something is wrong."""
