"""`diffmaac reproduce`: the figures and tables of the paper, from runs that are made, resumed or reused."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from rich.table import Table

from diffmaac.analysis.record import machine, versions, write_table
from diffmaac.commands.report import Report
from diffmaac.config import flatten, setting
from diffmaac.errors import DiffmaacError, SettingError, unknown
from diffmaac.experiments import ALGORITHMS, FURTHER_ABLATIONS, MAAC, SCALES, Amount, PlannedRun, Variant, make, plan
from diffmaac.task import get_task

Rows = list[dict[str, Any]]
PLANNING = "planning.json"
"""What table 1 measured of a run, kept in its directory."""
PLANNED = ("planner", "step", "episodes", "return", "return_std", "plan_ms", "diverged")


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
    files = [out / f"{experiment}{end}" for end in (".png", ".csv", "_summary.csv", ".yaml")]
    plots.comparisons(
        {e: {label: [r.rows() for r in c] for label, c in g.items()} for e, g in _grouped(runs)}, files[0]
    )
    write_table(files[1], [row for run in runs for row in _evaluations(run)])
    write_table(files[2], [row for env, curves in _grouped(runs) for row in _summary(env, curves)])
    _write_settings(files[3], runs)
    header = [
        "task",
        "curve",
        "runs",
        "steps",
        "return: IQM [95 %]",
        "mean +- std",
        "solved at step",
        "wall time [min]",
    ]
    cells = [_ending(env, label, same) for env, curves in _grouped(runs) for label, same in curves.items()]
    return _report(experiment, out, header, cells, broken, files)


def _figure3(experiment: str, settings: ReproduceSettings) -> Report:
    """Figure 3: the gradient's error against the horizon on the linear system, where it is known."""
    from diffmaac.commands.gradient_error import GradientErrorSettings, measure

    out, given = settings.out_folder, dict(SCALES[settings.scale].gradient_error)
    given |= {"seeds": settings.seeds} if settings.seeds else {}
    given |= {"env": settings.envs or "double_integrator"}
    report = measure("", GradientErrorSettings(**given, out=str(out)))
    files = [Path(shutil.move(file, out / f"{experiment}{file.suffix}")) for file in report.files]
    files.append(out / f"{experiment}.yaml")
    _dump(files[-1], {"gradient-error": given})
    return Report(report.table, report.lines, files)


def _table1(experiment: str, settings: ReproduceSettings) -> Report:
    """Table 1: the policy alone, and looking ahead with model and critics by the cross-entropy method."""
    scale = SCALES[settings.scale]
    runs, broken = _runs(settings, {"maac": MAAC}, scale.comparison)
    rows: Rows = []
    for run in runs:
        try:
            for found in _planned(run, scale.episodes):  # not every task has a criterion, so columns are named
                rows.append({"env": run.env, "seed": run.given["seed"], **{name: found[name] for name in PLANNED}})
        except DiffmaacError as error:
            broken.append(str(error))
    _check_any(rows, broken)
    out = settings.out_folder
    files = [out / f"{experiment}.csv", out / f"{experiment}.yaml"]
    write_table(files[0], [{**row, **_circumstances()} for row in rows])
    _write_settings(files[1], runs)
    header = ["task", "", "runs", "return: mean +- std over runs", "planning [ms a step]", "diverged"]
    cells = []
    for env, planner in dict.fromkeys((row["env"], row["planner"]) for row in rows):
        same = [row for row in rows if (row["env"], row["planner"]) == (env, planner)]
        returns = [row["return"] for row in same]
        milliseconds = [row["plan_ms"] for row in same if row["plan_ms"] != ""]
        cells.append([env, {"none": "MAAC", "cem": "MAAC + MPC"}[planner], str(len(same)), _mean_std(returns)])
        cells[-1] += [
            f"{np.median(milliseconds):.1f}" if milliseconds else "",
            str(sum(row["diverged"] for row in same)),
        ]
    return _report(experiment, out, header, cells, broken, files)


def _planned(run: PlannedRun, episodes: int) -> Rows:
    """The run's policy and its planner from the same start states; measured once, then read."""
    from diffmaac.commands.evaluate import EvaluateSettings, evaluate_run

    kept = run.path / PLANNING
    if kept.is_file():
        rows = json.loads(kept.read_text())
        if all((row["step"], row["episodes"]) == (run.steps, episodes) for row in rows):
            return rows
    rows = []
    for planner in ("none", "cem"):
        report = evaluate_run(str(run.path), EvaluateSettings(planner=planner, episodes=episodes))
        row = {"planner": planner, "step": report.step, "episodes": episodes, **report.evaluation.metrics()}
        row |= {"plan_ms": "" if report.plan_ms is None else round(report.plan_ms, 2), "diverged": report.diverged}
        rows.append(row)
    kept.write_text(json.dumps(rows, indent=1))
    return rows


TIMED = ("model", "optimisation", "imagination", "environment")


def _table2(experiment: str, settings: ReproduceSettings) -> Report:
    """Table 2: where the time of 1,000 environment steps goes, the steps of random actions left out."""
    runs, broken = _runs(
        settings, {name: ALGORITHMS[name] for name in ("maac", "mbpo")}, SCALES[settings.scale].comparison
    )
    rows: Rows = []
    for run in runs:
        random, epoch = run.settings.data.random_steps, run.settings.report.epoch_steps
        learning = [row for row in run.rows() if int(row["step"]) > random]
        if not learning or not learning[-1].get("seconds_optimisation"):
            broken.append(f"'{run.path}' has no times of its parts: nothing was learned, or an older version made it.")
            continue
        steps = int(learning[-1]["step"]) - max(random, int(learning[0]["step"]) - epoch)
        parts = {name: sum(float(row.get(f"seconds_{name}") or 0) for row in learning) for name in TIMED}
        row: dict[str, Any] = {"env": run.env, "algorithm": run.variant, "seed": run.given["seed"], "steps": steps}
        row |= {f"{name}_s": round(1000 * total / steps, 2) for name, total in parts.items()}
        rows.append(row | {"total_s": round(1000 * sum(parts.values()) / steps, 2)} | _circumstances())
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
    default = next(iter(amounts.values()))
    envs = settings.envs.split(",") if settings.envs else list(amounts)
    chosen = {}
    for env in envs:
        amount = amounts.get(get_task(env).name, default)
        chosen[env] = Amount(settings.steps or amount.steps, settings.seeds or amount.seeds)
    wanted = plan(
        {name: variants[name] for name in names}, chosen, SCALES[settings.scale].changes, settings.runs_folder
    )
    jobs = settings.jobs or os.cpu_count() or 1
    runs, broken = make(wanted, jobs if settings.train else 0)
    _check_any(runs, broken)
    settings.out_folder.mkdir(parents=True, exist_ok=True)
    return runs, broken


def _check_any(found: Sequence[object], broken: Sequence[str]) -> None:
    if not found:
        raise SettingError(f"no run can be used. {' '.join(broken)}")


def _grouped(runs: Sequence[PlannedRun]) -> list[tuple[str, dict[str, list[PlannedRun]]]]:
    """Task -> curve -> its runs."""
    groups: dict[str, dict[str, list[PlannedRun]]] = {}
    for run in runs:
        groups.setdefault(run.env, {}).setdefault(run.label, []).append(run)
    return list(groups.items())


def _evaluations(run: PlannedRun) -> Rows:
    """Every evaluation of a run, with what it was made with."""
    names = ("step", "seconds", "return", "return_std", "score", "solved")
    head = {"env": run.env, "curve": run.label, "seed": run.given["seed"]}
    return [{**head, **{name: row.get(name, "") for name in names}} for row in run.rows()]


def _returns(runs: Sequence[PlannedRun]) -> tuple[list[int], np.ndarray]:
    """Steps that all runs have reached, and the returns there: (runs, steps)."""
    rows = [run.rows() for run in runs]
    length = min(map(len, rows))
    return [int(row["step"]) for row in rows[0][:length]], np.array(
        [[float(r["return"]) for r in x[:length]] for x in rows]
    )


def _summary(env: str, curves: Mapping[str, Sequence[PlannedRun]]) -> Rows:
    """Aggregates over the runs of each curve at each step."""
    from diffmaac.analysis.statistics import bootstrap_interval, interquartile_mean

    out: Rows = []
    for label, runs in curves.items():
        steps, returns = _returns(runs)
        columns = (interquartile_mean(returns), *bootstrap_interval([returns]), returns.mean(0), returns.std(0))
        for step, *numbers in zip(steps, *columns, strict=True):
            named = dict(zip(("iqm", "low", "high", "mean", "std"), (f"{x:.6g}" for x in numbers), strict=True))
            out.append({"env": env, "curve": label, "runs": len(runs), "step": step, **named})
    return out


def _ending(env: str, label: str, runs: Sequence[PlannedRun]) -> list[str]:
    """One line of the table: where a curve ends."""
    last = _summary(env, {label: runs})[-1]
    minutes = [float(run.rows()[-1]["seconds"]) / 60 for run in runs]
    interval = f"{float(last['iqm']):.4g} [{float(last['low']):.4g}, {float(last['high']):.4g}]"
    _, returns = _returns(runs)
    reached = [f"{last['step']:,}", interval, _mean_std(returns[:, -1]), _solved(runs)]
    return [env, label, str(len(runs)), *reached, f"{np.median(minutes):.1f}"]


def _solved(runs: Sequence[PlannedRun]) -> str:
    """The median step of the first evaluation whose every episode met the task's criterion, and in how many runs."""
    rows = [run.rows() for run in runs]
    if not rows[0][-1].get("solved"):
        return ""
    first = [next((int(row["step"]) for row in x if float(row["solved"]) == 1.0), None) for x in rows]
    found = [step for step in first if step is not None]
    return f"{np.median(found):,.0f} ({len(found)} of {len(runs)})" if found else f"none of {len(runs)}"


def _mean_std(values: Sequence[float] | np.ndarray) -> str:
    return f"{np.mean(values):.4g} +- {np.std(values):.2g}"


def _circumstances() -> dict[str, str]:
    return {"versions": versions("diffmaac", "torch", "mujoco"), "machine": machine()}


def _write_settings(path: Path, runs: Sequence[PlannedRun]) -> None:
    """The complete settings of every curve on every task."""
    settings: dict[str, Any] = {}
    for run in runs:
        found = flatten(run.settings)
        settings.setdefault(run.env, {})[run.variant] = {k: v for k, v in found.items() if k not in ("seed", "out")}
    _dump(path, settings)


def _dump(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(OmegaConf.to_yaml(OmegaConf.create({**content, **_circumstances()})))


def _report(
    experiment: str,
    out: Path,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    broken: Sequence[str],
    files: list[Path],
) -> Report:
    """The table, on the screen and as Markdown."""
    page = out / f"{experiment}.md"
    lines = [header, ["---"] * len(header), *cells]
    page.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(name.replace("[", "\\["), no_wrap=True)
    for line in cells:
        table.add_row(*(cell.replace("[", "\\[") for cell in line))
    return Report(table, [f"left away: {line}" for line in broken], [*files, page])
