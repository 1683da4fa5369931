"""The figures and tables of the paper, from runs that are made, resumed or reused."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from diffmaac.analysis.gradient_error import gradient_error
from diffmaac.errors import DiffmaacError, SettingError, unknown
from diffmaac.experiments import lookahead, timing
from diffmaac.experiments.aggregates import Rows
from diffmaac.experiments.curves import write_curves
from diffmaac.experiments.plan import PlannedRun, check_any
from diffmaac.experiments.request import dump, ready_runs, write_page, write_run_settings
from diffmaac.experiments.scales import COMPARED, FURTHER_ABLATIONS, MAAC, REGIMES, SCALES
from diffmaac.experiments.settings import EngineSettings, ReproduceSettings
from diffmaac.files import write_table
from diffmaac.keywords import GradientErrorKeywords, ReproduceKeywords
from diffmaac.result import Result, Table
from diffmaac.settings import build, changed, fields_of


def reproduce(experiment: str, **words: Unpack[ReproduceKeywords]) -> Result[Any]:
    """Makes `experiment`, one of `EXPERIMENTS`, and writes its figure or table, CSV and settings.

    `words` are the settings of ``diffmaac reproduce``. The value is the runs used; of figure 3 the gradient errors.

    Raises SettingError for an experiment, task or variant that there is not, or where no run can be used.
    """
    if experiment not in EXPERIMENTS:
        raise SettingError(unknown("experiment", experiment, EXPERIMENTS))
    return EXPERIMENTS[experiment](experiment, build(ReproduceSettings, words))


def _curves(experiment: str, settings: ReproduceSettings) -> Result[list[PlannedRun]]:
    """Figures 2, 4 and 5: learning curves, a panel for each task."""
    scale, compared = SCALES[settings.scale], experiment == "figure2"
    variants = COMPARED if compared else scale.ablations if experiment == "figure4" else FURTHER_ABLATIONS
    runs, broken = ready_runs(settings, variants, scale.comparison if compared else scale.ablation)
    drawn = write_curves(runs, settings.out_folder, experiment)
    files = [*drawn.files, settings.out_folder / f"{experiment}.yaml"]
    write_run_settings(files[-1], runs)
    return _result(experiment, runs, settings, drawn.table, [*broken, *drawn.broken], drawn.notes, files)


def _figure3(experiment: str, settings: ReproduceSettings) -> Result[Any]:
    """Figure 3: the gradient's error against the horizon on the linear system, where it is known."""
    for name in changed(settings, ("steps", *fields_of(EngineSettings), "hours", "train", "runs")):
        raise SettingError(f"{name}= has no meaning for figure3, which trains no runs. Leave it out.")
    envs = settings.envs or ["double_integrator"]
    if len(envs) > 1:
        raise SettingError(f"envs={','.join(envs)}: figure3 is of one task. Give one.")
    regime, *more = settings.variants or list(REGIMES)[:1]
    if more:
        raise SettingError(f"variants={','.join(settings.variants)}: figure3 is of one policy. Give one.")
    if regime not in REGIMES:
        raise SettingError(unknown("variant", regime, REGIMES))
    out, scale = settings.out_folder, SCALES[settings.scale].gradient_error
    words: GradientErrorKeywords = {**REGIMES[regime], **scale, "env": envs[0], "out": out}
    if settings.seeds:
        words["seeds"] = settings.seeds
    measured = gradient_error(**words)
    name = experiment if regime in list(REGIMES)[:1] else f"{experiment}_{regime}"
    files = [Path(shutil.move(file, out / f"{name}{file.suffix}")) for file in measured.files]
    files.append(out / f"{name}.yaml")
    dump(files[-1], {"gradient-error": {name: value for name, value in words.items() if name != "out"}})
    return dataclasses.replace(measured, files=files)


def _table1(experiment: str, settings: ReproduceSettings) -> Result[list[PlannedRun]]:
    """Table 1: the policy alone, and looking ahead with model and critics by the cross-entropy method."""
    scale = SCALES[settings.scale]
    runs, broken = ready_runs(settings, {"maac": MAAC}, scale.comparison)
    rows: Rows = []
    for run in runs:
        try:
            rows += lookahead.with_and_without(run, scale.episodes)
        except DiffmaacError as error:
            broken.append(str(error))
    check_any(rows, broken)
    files = _files(settings, experiment, ".csv", ".yaml")
    write_table(files[0], rows)
    write_run_settings(files[1], runs, {"planner": lookahead.PLANNER})
    return _result(experiment, runs, settings, Table(*lookahead.lines(rows, scale.episodes)), broken, [], files)


def _table2(experiment: str, settings: ReproduceSettings) -> Result[list[PlannedRun]]:
    """Table 2: where the time of 1,000 environment steps goes, epochs with random actions left out."""
    variants = {name: COMPARED[name] for name in ("maac", "mbpo")}
    runs, broken = ready_runs(settings, variants, SCALES[settings.scale].comparison)
    rows: Rows = []
    for run in runs:
        if (row := timing.seconds_of(run)) is not None:
            rows.append(row)
        else:
            broken.append(f"'{run.path}' has no times of its parts: nothing was learned, or an older version made it.")
    check_any(rows, broken)
    files = _files(settings, experiment, ".csv", ".yaml")
    write_table(files[0], rows)
    write_run_settings(files[1], runs)
    return _result(experiment, runs, settings, timing.table(rows), broken, [], files)


EXPERIMENTS: dict[str, Callable[[str, ReproduceSettings], Result[Any]]] = {
    "figure2": _curves,
    "figure3": _figure3,
    "figure4": _curves,
    "figure5": _curves,
    "table1": _table1,
    "table2": _table2,
}


def _files(settings: ReproduceSettings, experiment: str, *endings: str) -> list[Path]:
    """The files of an experiment, in a directory that is made now that there is something to write."""
    settings.out_folder.mkdir(parents=True, exist_ok=True)
    return [settings.out_folder / f"{experiment}{ending}" for ending in endings]


def _result(
    experiment: str,
    runs: list[PlannedRun],
    settings: ReproduceSettings,
    table: Table,
    broken: list[str],
    notes: list[str],
    files: list[Path],
) -> Result[list[PlannedRun]]:
    """The result, whose table and lines are written as Markdown as well."""
    page = settings.out_folder / f"{experiment}.md"
    write_page(page, table, [*(f"left out: {line}" for line in broken), *notes])
    return Result(runs, table, notes, broken, [*files, page])
