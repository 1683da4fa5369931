"""How results and settings are printed."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from diffmaac.result import Result, Table
from diffmaac.settings import convert, describe, fields_of, parse_words

WIDTH = 200
"""Wide enough that no column of our tables is cut."""


def argument(metavar: str) -> Any:
    """What a command takes; the line of usage shows it, and a list of arguments would say no more."""
    return typer.Argument(metavar=metavar, show_default=False, hidden=True)


Words = Annotated[list[str] | None, argument("[NAME=VALUE]...")]
Run = Annotated[str, argument("RUN")]
RunAndWords = Annotated[list[str] | None, argument("[RUN] [NAME=VALUE]...")]
RunsAndWords = Annotated[list[str], argument("RUN... [NAME=VALUE]...")]


def help_text(text: str, settings: type) -> str:
    """A command's help: `text`, then a line for each of its settings (typer leaves lines after a \\b as they are)."""
    return "\n".join([text.rstrip(), "", "\b", *describe(fields_of(settings).values())])


def read_words(settings: type, words: Iterable[str] | None) -> dict[str, Any]:
    """The words of a command as values of its settings. Raises SettingError as `convert` does."""
    return convert(parse_words(words or []), fields_of(settings))


def show(result: Result[Any]) -> None:
    """Prints a result; what was left out goes to standard error."""
    if result.table is not None:
        print_table(result.table)
    for line in result.notes:
        typer.echo(line)
    for line in result.left_out:
        typer.echo(f"left out: {line}", err=True)
    if result.files:
        typer.echo(f"written: {', '.join(map(str, result.files))}")


def print_table(table: Table) -> None:
    """Prints a table as wide as it is; columns of numbers are aligned to the right."""
    grid = Grid(title=table.title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for name, column in zip(table.header, zip(*table.cells, strict=True), strict=True):
        grid.add_column(_plain(name), no_wrap=True, justify="right" if _numeric(column) else "left")
    for line in table.cells:
        grid.add_row(*map(_plain, line))
    Console(width=WIDTH, soft_wrap=True).print(grid, highlight=False)


def _plain(text: str) -> str:
    """Without rich's markup."""
    return text.replace("[", "\\[")


def _numeric(column: Sequence[str]) -> bool:
    return all(cell.lstrip("-")[:1].isdigit() for cell in column)


def stopped(advice: str) -> typer.Exit:
    """Says in one line how to go on after an interruption."""
    typer.echo(f"diffmaac: stopped. {advice}", err=True)
    return typer.Exit(130)


def echo_lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
