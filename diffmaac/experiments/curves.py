"""Learning curves of planned runs: a figure with a panel for each task, tables, and the aggregates over runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffmaac.analysis import plots
from diffmaac.experiments.aggregates import ending, grouped, overall, run_rows, summary
from diffmaac.experiments.plan import PlannedRun, check_any
from diffmaac.files import write_table
from diffmaac.result import Table

HEADER = ["task", "curve", "runs", "steps", "return: IQM [bootstrap 95 %]", "mean +- std", "solved at step"]
HEADER += ["wall time [min]"]


@dataclass(frozen=True)
class Curves:
    """What was drawn and written."""

    table: Table
    broken: list[str]
    """A line for each curve that cannot be drawn."""
    notes: list[str]
    files: list[Path]


def write_curves(runs: Sequence[PlannedRun], folder: Path, name: str) -> Curves:
    """Draws `runs` into <name>.png, and writes every evaluation to <name>.csv, aggregates to <name>_summary.csv.

    Raises SettingError where no curve can be drawn.
    """
    groups, broken, cut = grouped(runs)
    check_any(groups, broken)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}{end}" for end in (".png", ".csv", "_summary.csv")]
    drawn = {env: {label: [r.rows() for r in same] for label, same in curves.items()} for env, curves in groups.items()}
    plots.comparisons(drawn, files[0])
    write_table(files[1], [row for run in runs if run.label in groups.get(run.env, ()) for row in run_rows(run)])
    summaries = {(env, label): summary(env, label, r) for env, curves in groups.items() for label, r in curves.items()}
    together, remarks = overall(groups) if len(groups) > 1 else ([], [])
    write_table(files[2], [*(row for rows in summaries.values() for row in rows), *together])
    cells = [ending(rows[-1], groups[env][label]) for (env, label), rows in summaries.items()]
    cells += [ending(row, []) for row in together]
    return Curves(Table(HEADER, cells), broken, [*cut, *remarks], files)
