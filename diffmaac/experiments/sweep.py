"""Many runs: a grid of settings, or settings that Optuna proposes, made, resumed or reused, and drawn."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from diffmaac.errors import SettingError
from diffmaac.experiments.combinations import plan
from diffmaac.experiments.curves import write_curves
from diffmaac.experiments.grid import Grid, check_size, digest, grid_of, space_of, split
from diffmaac.experiments.make import engine_of, sort_out, train
from diffmaac.experiments.plan import PlannedRun, check_any
from diffmaac.experiments.request import write_page
from diffmaac.experiments.settings import SweepSettings
from diffmaac.files import check_folder, replace_text
from diffmaac.result import Result, Table
from diffmaac.runs.lock import claimed
from diffmaac.settings.field import shown
from diffmaac.tasks import resolve_task

MANIFEST = "sweep.yaml"
DRAWN = 5
"""Trials of a search whose curves are drawn, the best ones."""
HEAD = """\
# What this sweep is of. It goes on, or is drawn again, with `diffmaac sweep config=THIS_FILE`.
"""


def sweep(**words: Any) -> Result[list[PlannedRun]]:
    """Trains a run for each combination of settings, as ``diffmaac sweep`` does, and draws them.

    A setting of a run is a value or a list of alternatives: ``sweep(env=["pendulum", "cartpole"], horizon=[0, 4],
    seed=range(5))``; texts are read as on the command line. The other words are those of `SweepSettings`. The value is
    the runs that can be used; each has its `path`, `words` and `rows()`.

    What is there is reused, what has stopped is resumed, a run that fails is named in `left_out`. Raises SettingError
    for a grid that cannot be used, or where no run can be.
    """
    own, rest = split(words)
    if own.search == "optuna":
        return _searched(own, rest)
    grid = grid_of(rest)
    check_size(grid, own.yes)
    folder = folder_of(own, grid)
    runs, broken = plan(grid, folder)
    check_any(runs, broken)
    engine = engine_of(own)
    with _begun(folder, own, grid):
        missing, errors = sort_out(runs)
        if missing:
            errors |= train(missing, engine)
        usable = [run for run in runs if run.name not in errors]
        return drawn(usable, [*broken, *errors.values()], folder)


def _searched(own: SweepSettings, rest: Mapping[str, Any]) -> Result[list[PlannedRun]]:
    """The runs of the best trials, drawn; the table has all trials."""
    space = space_of(rest)
    try:
        from diffmaac.experiments.search import Search  # Optuna is loaded only where it is asked for
    except ImportError as error:
        raise SettingError("search=optuna: Optuna is not installed. `pip install diffmaac[optuna]` does.") from error
    folder = folder_of(own, {name: [str(value)] for name, value in rest.items()})
    resolve_task(space.env, space.fixed)  # a mistake in what all share is told now
    engine = engine_of(own)
    with _begun(folder, own, {name: [value] for name, value in rest.items()}):
        search = Search(space, folder, own.trials)
        search.run(engine)
        best = " ".join(f"{name}={shown(value)}" for name, value in search.words().items())
        usable = [run for trial in search.best()[:DRAWN] for run in search.runs_of(trial)]
        result = drawn(usable, search.broken, folder, search.table())
        return replace(result, notes=[*result.notes, f"the best: diffmaac train env={space.env} {best}"])


@contextmanager
def _begun(folder: Path, own: SweepSettings, grid: Grid) -> Iterator[None]:
    """In a directory of its own, with its manifest, where no other process makes the same sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder, f"the sweep in '{folder}'"):
        write_manifest(folder, own, grid)
        yield


def folder_of(own: SweepSettings, grid: Grid) -> Path:
    """The directory of the runs, which the same grid has again. Raises OSError where it cannot be written."""
    folder = Path(own.out or f"runs/sweep-{digest(grid)}")
    check_folder(folder)
    return folder


def write_manifest(folder: Path, own: SweepSettings, grid: Grid) -> None:
    """What the sweep is of, as a file that `config=` reads; how many processes it had is no part of it."""
    content: dict[str, Any] = {"out": str(folder)}
    for name, values in grid.items():
        alone = len(values) == 1 and not isinstance(values[0], list)
        content[name] = values[0] if alone else list(values)
    if own.search != "grid":
        content |= {"search": own.search, "trials": own.trials}
    elif own.yes:
        content["yes"] = True
    replace_text(folder / MANIFEST, HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def drawn(
    usable: list[PlannedRun], broken: list[str], folder: Path, table: Table | None = None
) -> Result[list[PlannedRun]]:
    """Figure and tables of the runs; `table` takes the place of theirs. Raises SettingError where none can be used."""
    check_any(usable, broken)
    curves = write_curves(usable, folder, "sweep")
    broken = [*broken, *curves.broken]
    page, table = folder / "sweep.md", table or curves.table
    write_page(page, table, [*(f"left out: {line}" for line in broken), *curves.notes])
    files = [*curves.files, page, folder / MANIFEST]
    return Result(usable, table, curves.notes, broken, files)
