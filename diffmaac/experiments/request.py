"""What the settings of `reproduce` ask for: the runs, trained, and the pages that tell of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from diffmaac.errors import SettingError, unknown
from diffmaac.experiments.make import as_they_are, engine_of, make
from diffmaac.experiments.plan import PlannedRun, check_any, plan
from diffmaac.experiments.scales import SCALES, Amount, Variant
from diffmaac.experiments.settings import ReproduceSettings
from diffmaac.files import check_folder, replace_text
from diffmaac.provenance import circumstances
from diffmaac.result import Table
from diffmaac.runs.settings import stored_settings
from diffmaac.settings import flatten
from diffmaac.tasks import get_task


def ready_runs(
    settings: ReproduceSettings, variants: Mapping[str, Variant], amounts: Mapping[str, Amount]
) -> tuple[list[PlannedRun], list[str]]:
    """The runs of an experiment, trained, and one line for each that cannot be used."""
    names = settings.variants or list(variants)
    for name in names:
        if name not in variants:
            raise SettingError(unknown("variant", name, variants))
    chosen = {env: _amount(settings, env, amounts) for env in settings.envs or amounts}
    wanted = plan(
        {name: variants[name] for name in names}, chosen, SCALES[settings.scale].changes, settings.runs_folder
    )
    if not settings.train and not settings.runs_folder.is_dir():
        raise SettingError(f"runs={settings.runs_folder}: there is no such directory, and train=false.")
    if settings.train:
        check_folder(settings.out_folder)  # now, lest hours of training have nowhere to go
        runs, broken = make(wanted, engine_of(settings), settings.hours)
    else:
        runs, broken = as_they_are(wanted)
    check_any(runs, broken)
    return runs, broken


def _amount(settings: ReproduceSettings, env: str, amounts: Mapping[str, Amount]) -> Amount:
    """How much of task `env`: the user's, or the scale's."""
    of_scale = amounts.get(get_task(env).name, Amount(0, 0))
    amount = Amount(settings.steps or of_scale.steps, settings.seeds or of_scale.seeds)
    if 0 in dataclasses.astuple(amount):
        raise SettingError(f"scale={settings.scale} does not have env={env}. Say its steps= and seeds= as well.")
    return amount


def write_run_settings(path: Path, runs: Sequence[PlannedRun], more: Mapping[str, Any] | None = None) -> None:
    """The complete settings of every curve on every task, as its runs have them, and `more`."""
    settings: dict[str, Any] = {**(more or {})}
    for run in runs:
        curves = settings.setdefault(run.env, {})
        if run.variant not in curves:
            stored = flatten(stored_settings(run.path))
            curves[run.variant] = {name: value for name, value in stored.items() if name not in ("seed", "out")}
    dump(path, settings)


def dump(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content`, and where that was done: runs may be from elsewhere, as the tables say row by row."""
    content = {**content, "written_with": circumstances()}
    replace_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_page(path: Path, table: Table, lines: Sequence[str]) -> None:
    """A table as Markdown, and lines below it."""
    replace_text(path, table.markdown() + "".join(f"\n{line}\n" for line in lines))
