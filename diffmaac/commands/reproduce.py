"""`diffmaac reproduce`: the figures and tables of the paper, from runs that are made, resumed or reused."""

import bisect
import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from rich.table import Table

from diffmaac.analysis.record import circumstances, made_with, write_table
from diffmaac.commands import planned
from diffmaac.commands.aggregates import Rows, ending, evaluations, grouped, overall, summary
from diffmaac.commands.report import Report
from diffmaac.config import flatten, given_of, setting
from diffmaac.errors import DiffmaacError, SettingError, unknown
from diffmaac.experiments import ALGORITHMS, FURTHER_ABLATIONS, MAAC, SCALES, Amount, PlannedRun, Variant, make, plan
from diffmaac.task import get_task
from diffmaac.training.run import stored_settings


@dataclass(frozen=True)
class ReproduceSettings:
    """How large, of which tasks, and where."""

    scale: str = setting("quick", "smoke: a minute; quick: hours on two cores; full: the paper's", choices=SCALES)
    envs: str = setting("", "tasks, separated by commas; empty: those of the scale")
    variants: str = setting("", "curves, separated by commas, for example maac,sac; empty: all")
    seeds: int = setting(0, "runs of each curve; 0: as many as the scale has", 0)
    steps: int = setting(0, "environment steps of a run; 0: as many as the scale has", 0)
    jobs: int = setting(0, "runs trained at a time, on one thread each; 0: as many as there are cores", 0)
    runs: str = setting("", "directory of the runs; empty: runs/reproduce/<scale>")
    out: str = setting("", "directory of figures and tables; empty: that of the runs")
    train: bool = setting(True, "train what is missing; false: use the runs at hand as they are")

    @property
    def runs_folder(self) -> Path:
        return Path(self.runs or f"runs/reproduce/{self.scale}")

    @property
    def out_folder(self) -> Path:
        return Path(self.out or self.runs_folder)


def reproduce(experiment: str, settings: ReproduceSettings) -> Report:
    """Makes `experiment`, one of `EXPERIMENTS`, and writes its figure or table, CSV and settings.

    Raises SettingError for an experiment, task or variant that there is not, or where no run can be used.
    """
    if experiment not in EXPERIMENTS:
        raise SettingError(unknown("experiment", experiment, EXPERIMENTS))
    return EXPERIMENTS[experiment](experiment, settings)


def _curves(experiment: str, settings: ReproduceSettings) -> Report:
    """Figures 2, 4 and 5: learning curves, a panel for each task."""
    from diffmaac.analysis import plots

    scale, compared = SCALES[settings.scale], experiment == "figure2"
    variants = ALGORITHMS if compared else scale.ablations if experiment == "figure4" else FURTHER_ABLATIONS
    runs, broken = _runs(settings, variants, scale.comparison if compared else scale.ablation)
    out = settings.out_folder
    groups, apart, cut = grouped(runs)
    broken += apart
    _check_any(groups, broken)
    files = [out / f"{experiment}{end}" for end in (".png", ".csv", "_summary.csv", ".yaml")]
    drawn = {env: {label: [r.rows() for r in same] for label, same in curves.items()} for env, curves in groups.items()}
    plots.comparisons(drawn, files[0])
    write_table(files[1], [row for run in runs if run.label in groups.get(run.env, ()) for row in evaluations(run)])
    summaries = {(env, label): summary(env, label, r) for env, curves in groups.items() for label, r in curves.items()}
    together, said = overall(groups) if len(groups) > 1 else ([], [])
    write_table(files[2], [*(row for rows in summaries.values() for row in rows), *together])
    _write_settings(files[3], runs)
    header = ["task", "curve", "runs", "steps", "return: IQM [bootstrap 95 %]", "mean +- std", "solved at step"]
    header.append("wall time [min]")
    cells = [ending(rows[-1], groups[env][label]) for (env, label), rows in summaries.items()]
    cells += [ending(row, []) for row in together]
    return _report(experiment, out, header, cells, broken, files, [*cut, *said])


def _figure3(experiment: str, settings: ReproduceSettings) -> Report:
    """Figure 3: the gradient's error against the horizon on the linear system, where it is known."""
    from diffmaac.commands.gradient_error import GradientErrorSettings, measure

    for name in given_of(settings, ("variants", "steps", "jobs", "train", "runs")):
        raise SettingError(f"{name}= has no meaning for figure3, which trains no runs. Leave it away.")
    out, given = settings.out_folder, dict(SCALES[settings.scale].gradient_error)
    given |= {"seeds": settings.seeds} if settings.seeds else {}
    given |= {"env": settings.envs or "double_integrator"}
    measured = GradientErrorSettings(**given, out=str(out))
    report = measure("", measured)
    files = [Path(shutil.move(file, out / f"{experiment}{file.suffix}")) for file in report.files]
    files.append(out / f"{experiment}.yaml")
    _dump(files[-1], {"gradient-error": {k: v for k, v in dataclasses.asdict(measured).items() if k != "out"}})
    return Report(report.table, report.lines, files)


def _table1(experiment: str, settings: ReproduceSettings) -> Report:
    """Table 1: the policy alone, and looking ahead with model and critics by the cross-entropy method."""
    scale = SCALES[settings.scale]
    runs, broken = _runs(settings, {"maac": MAAC}, scale.comparison)
    rows: Rows = []
    for run in runs:
        try:
            rows += planned.with_and_without(run, scale.episodes)
        except DiffmaacError as error:
            broken.append(str(error))
    _check_any(rows, broken)
    out = settings.out_folder
    files = [out / f"{experiment}.csv", out / f"{experiment}.yaml"]
    write_table(files[0], rows)
    _write_settings(files[1], runs, {"planner": planned.PLANNER})
    return _report(experiment, out, *planned.lines(rows, scale.episodes), broken, files)


TIMED = ("model", "optimisation", "imagination", "environment")


def without_random(rows: Sequence[Mapping[str, str]], random: int) -> tuple[Sequence[Mapping[str, str]], int]:
    """The epochs that began after `random` steps, and how many steps they have: their times are those of learning."""
    starts = [0, *(int(row["step"]) for row in rows)]
    first = bisect.bisect_left(starts, random)
    return rows[first:], starts[-1] - starts[min(first, len(rows))]


def _table2(experiment: str, settings: ReproduceSettings) -> Report:
    """Table 2: where the time of 1,000 environment steps goes, epochs with random actions left out."""
    runs, broken = _runs(
        settings, {name: ALGORITHMS[name] for name in ("maac", "mbpo")}, SCALES[settings.scale].comparison
    )
    rows: Rows = []
    for run in runs:
        learning, steps = without_random(run.rows(), run.settings.data.random_steps)
        if not learning or not learning[-1].get("seconds_optimisation"):
            broken.append(f"'{run.path}' has no times of its parts: nothing was learned, or an older version made it.")
            continue
        parts = {name: sum(float(row.get(f"seconds_{name}") or 0) for row in learning) for name in TIMED}
        row: dict[str, Any] = {"env": run.env, "algorithm": run.variant, "seed": run.given["seed"], "steps": steps}
        row |= {f"{name}_s": round(1000 * total / steps, 2) for name, total in parts.items()}
        rows.append(row | {"total_s": round(1000 * sum(parts.values()) / steps, 2)} | made_with(run.path))
    _check_any(rows, broken)
    out = settings.out_folder
    files = [out / f"{experiment}.csv", out / f"{experiment}.yaml"]
    write_table(files[0], rows)
    _write_settings(files[1], runs)
    header = ["task", "algorithm", "runs", *(f"{name} [s]" for name in (*TIMED, "total"))]
    cells = []
    for env, algorithm in dict.fromkeys((row["env"], row["algorithm"]) for row in rows):
        same = [row for row in rows if (row["env"], row["algorithm"]) == (env, algorithm)]
        seconds = [f"{np.median([row[f'{name}_s'] for row in same]):.1f}" for name in (*TIMED, "total")]
        cells.append([env, ALGORITHMS[algorithm].label, str(len(same)), *seconds])
    return _report(experiment, out, header, cells, broken, files)


EXPERIMENTS: dict[str, Callable[[str, ReproduceSettings], Report]] = {
    "figure2": _curves,
    "figure3": _figure3,
    "figure4": _curves,
    "figure5": _curves,
    "table1": _table1,
    "table2": _table2,
}


def _runs(
    settings: ReproduceSettings, variants: Mapping[str, Variant], amounts: Mapping[str, Amount]
) -> tuple[list[PlannedRun], list[str]]:
    """The runs of an experiment, trained, and one line for each that cannot be used."""
    names = settings.variants.split(",") if settings.variants else list(variants)
    for name in names:
        if name not in variants:
            raise SettingError(unknown("variant", name, variants))
    chosen = {}
    for env in settings.envs.split(",") if settings.envs else amounts:
        amount = amounts.get(get_task(env).name, Amount(0, 0))
        chosen[env] = Amount(settings.steps or amount.steps, settings.seeds or amount.seeds)
        if 0 in dataclasses.astuple(chosen[env]):
            raise SettingError(f"scale={settings.scale} does not have env={env}. Say its steps= and seeds= as well.")
    wanted = plan(
        {name: variants[name] for name in names}, chosen, SCALES[settings.scale].changes, settings.runs_folder
    )
    jobs = settings.jobs or os.cpu_count() or 1
    if not settings.train and not settings.runs_folder.is_dir():
        raise SettingError(f"runs={settings.runs_folder}: there is no such directory, and train=false.")
    if settings.train:
        settings.out_folder.mkdir(parents=True, exist_ok=True)  # now, lest hours of training have nowhere to go
    runs, broken = make(wanted, jobs if settings.train else 0)
    _check_any(runs, broken)
    settings.out_folder.mkdir(parents=True, exist_ok=True)
    return runs, broken


def _check_any(found: Sized, broken: Sequence[str]) -> None:
    if not found:
        more = f" And {len(broken) - 1} more." if len(broken) > 1 else ""
        raise SettingError(f"no run can be used. {broken[0] if broken else ''}{more}")


def _write_settings(path: Path, runs: Sequence[PlannedRun], more: Mapping[str, Any] | None = None) -> None:
    """The complete settings of every curve on every task, as its runs have them, and `more`."""
    settings: dict[str, Any] = {**(more or {})}
    for run in runs:
        curves = settings.setdefault(run.env, {})
        if run.variant not in curves:
            found = flatten(stored_settings(run.path))
            curves[run.variant] = {name: value for name, value in found.items() if name not in ("seed", "out")}
    _dump(path, settings)


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content`, and where that was done: runs may be from elsewhere, as the tables say row by row."""
    path.write_text(OmegaConf.to_yaml(OmegaConf.create({**content, "written_with": circumstances()})))


def _report(
    experiment: str,
    out: Path,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    broken: Sequence[str],
    files: list[Path],
    more: Sequence[str] = (),
) -> Report:
    """The table, on the screen and as Markdown; below it a line for each of the `broken` runs, and `more`."""
    page = out / f"{experiment}.md"
    lines = [header, ["---"] * len(header), *cells]
    below = [*(f"left away: {line}" for line in broken), *more]
    page.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines) + "".join(f"\n{x}\n" for x in below))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name.replace("[", "\\["), no_wrap=True)
    for line in cells:
        table.add_row(*(cell.replace("[", "\\[") for cell in line))
    return Report(table, below, [*files, page])
