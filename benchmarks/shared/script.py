"""From words to a table: a benchmark's settings, their refusal in one line, and what its rows were measured with."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from diffmaac.errors import exit_on_error
from diffmaac.files import write_table
from diffmaac.provenance import machine, versions
from diffmaac.settings import check_file, describe, fields_of, parse_command

RESULTS = "docs/results"
"""Where tables and figures go unless a benchmark is told otherwise."""
Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Calls `main` with the settings from the command line; what cannot be used is one line, with exit code 2.

    ``--help`` shows the script's docstring and its settings.
    """
    if "--help" in sys.argv[1:]:
        print(inspect.getdoc(inspect.getmodule(main)))
        print("\nSettings:", *describe(fields_of(settings).values()), sep="\n")
        return
    with exit_on_error():
        main(parse_command(settings, sys.argv[1:]))


def output(folder: str, name: str) -> Path:
    """The file `name` in the directory of the setting ``out``. Raises SettingError where there is no such directory."""
    file = Path(folder) / name
    check_file("out", file)
    return file


def provenance(*packages: str) -> dict[str, str]:
    """The columns that say what a row was measured with."""
    return {"versions": versions(*packages), "machine": machine(), "command": " ".join(["python", *sys.argv])}


def write(file: Path, rows: Sequence[Mapping[str, Any]], *common: Mapping[str, Any]) -> None:
    """Writes `rows`, each followed by the columns that are `common` to all."""
    shared = {name: value for columns in common for name, value in columns.items()}
    write_table(file, [{**row, **shared} for row in rows])


def show(row: Mapping[str, Any]) -> None:
    """Prints a row as soon as it is measured."""
    print(*(f"{name}={value}" for name, value in row.items()), flush=True)
