"""Where the gradient through a learned model is best: the error against H, over data, discount and critic.

    python docs/results/inquiries/horizon_map.py [transitions=30,100,300,1000,3000] [gammas=0.9,0.95]

Measures what is missing of horizon_map.csv (the study of `diffmaac gradient-error
env=double_integrator`), and draws
horizon_map.png; measure=false draws the table as it is.
"""

import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from diffmaac.analysis.linear_study import Study, StudySettings
from diffmaac.analysis.policy_gradient import gradient_errors
from diffmaac.errors import exit_on_error
from diffmaac.files import read_table, write_table
from diffmaac.provenance import circumstances
from diffmaac.settings import parse_command, setting
from diffmaac.tasks import get_task

HORIZONS = [0, 1, 2, 4, 8, 16, 32, 64, 128]
COLUMNS = ("dynamics", "horizon", "seed", "l1", "relative", "monte_carlo", "samples")
Case = tuple[float, int, int]
"""Discount, updates of the critic, transitions."""


@dataclass(frozen=True)
class MapSettings:
    """What is measured."""

    transitions: list[int] = setting([30, 100, 300, 1000, 3000], "amounts of the model's data", 20)
    gammas: list[float] = setting([0.9, 0.95], "discounts", 0.1, 0.999)
    critic_updates: list[int] = setting(
        [4000, 300], "gradient steps of the critic; discounts after the first have the first", 1
    )
    critic_transitions: int = setting(3000, "transitions of the critic, the same for all", 100)
    caution: float = setting(10.0, "how slow the policy is, see `diffmaac gradient-error --help`", 1e-6)
    samples: int = setting(2048, "trajectories for each gradient", 1024, 10**7)
    seeds: int = setting(4, "how many times model and critic are trained", 1, 1000)
    measure: bool = setting(True, "measure what is missing; false: draw the table as it is")
    out: str = setting("docs/results/inquiries", "directory of the table and the figure")


def cases(settings: MapSettings) -> Iterator[Case]:
    """Every discount and amount of data; the first discount with every critic, the others with the first."""
    for gamma, updates in itertools.product(settings.gammas, settings.critic_updates):
        if gamma == settings.gammas[0] or updates == settings.critic_updates[0]:
            yield from ((gamma, updates, count) for count in settings.transitions)


def measured(case: Case, settings: MapSettings) -> list[dict[str, Any]]:
    """The errors of one case against the gradient of the return."""
    gamma, updates, count = case
    chosen = StudySettings(
        gamma=gamma,
        caution=settings.caution,
        transitions=count,
        critic_transitions=settings.critic_transitions,
        critic_updates=updates,
        samples=settings.samples,
    )
    study = Study.of(get_task("double_integrator"), chosen)
    head = {name: getattr(chosen, name) for name in ("gamma", "critic_updates", "transitions", "critic_transitions")}
    made = {**circumstances(), "command": " ".join(["python", *sys.argv])}
    return [
        {**head, **{name: getattr(error, name) for name in COLUMNS}, **made}
        for seed in range(settings.seeds)
        for error in gradient_errors(study.parts(["learned"], seed), HORIZONS, chosen.samples, chosen.chunk, seed)
        if error.reference == "return"
    ]


def curve(rows: Sequence[dict[str, Any]], case: Case, dynamics: str) -> list[float]:
    """The L1 error at each horizon, the mean over seeds."""
    gamma, updates, count = case
    same = [
        row
        for row in rows
        if row["dynamics"] == dynamics
        and (float(row["gamma"]), int(row["critic_updates"]), int(row["transitions"])) == (gamma, updates, count)
    ]
    return [statistics.fmean(float(row["l1"]) for row in same if int(row["horizon"]) == h) for h in HORIZONS]


def best(errors: Sequence[float]) -> int:
    """The horizon of the least error."""
    return HORIZONS[min(range(len(HORIZONS)), key=errors.__getitem__)]


def draw(rows: Sequence[dict[str, Any]], settings: MapSettings, file: Path) -> None:
    """Curves of the first discount and the best critic; the best horizon against the data for all."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    gamma, updates = settings.gammas[0], settings.critic_updates[0]
    for index, count in enumerate(settings.transitions):
        errors = curve(rows, (gamma, updates, count), "learned")
        left.plot(HORIZONS, errors, marker=".", color=f"C{index}", label=f"{count:,} transitions")
        left.plot(best(errors), min(errors), "o", color=f"C{index}", fillstyle="none", markersize=10)
    truth = curve(rows, (gamma, updates, settings.transitions[-1]), "true")
    left.plot(HORIZONS, truth, ":", color="black", label="true dynamics")
    left.set(xlabel="horizon H [dynamics steps]", ylabel="L1 error of the gradient of the return", yscale="log")
    left.set_ylim(bottom=0.3 * min(min(curve(rows, c, "learned")) for c in cases(settings)))
    left.set_title(f"gamma = {gamma:g}; circles: the best H", fontsize=10)
    kinds = dict.fromkeys((gamma, updates) for gamma, updates, _ in cases(settings))
    for index, (gamma, updates) in enumerate(kinds):  # markers of falling size, as curves may lie on one another
        chosen = [best(curve(rows, (gamma, updates, count), "learned")) for count in settings.transitions]
        label = f"gamma = {gamma:g}, critic of {updates:,} updates"
        right.plot(
            settings.transitions, chosen, "-o", markersize=10 - 3 * index, linewidth=4 - 1.5 * index, label=label
        )
    right.set(xscale="log", xlabel="real transitions", ylabel="best H")
    right.set_yscale("symlog", base=2, linthresh=1)
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    left.set_xscale("symlog", base=2, linthresh=1)
    left.set_xticks(HORIZONS, [str(h) for h in HORIZONS])
    left.set_xlim(-0.1, 1.2 * HORIZONS[-1])
    left.minorticks_off()
    right.set_ylim(0.8, 1.2 * HORIZONS[-1])
    right.set_yticks(HORIZONS, [str(h) for h in HORIZONS])
    figure.savefig(file, dpi=150)


def main(settings: MapSettings) -> None:
    """Measures, case by case, and draws."""
    torch.set_num_threads(1)
    out = Path(settings.out)
    table = out / "horizon_map.csv"
    rows: list[dict[str, Any]] = [*read_table(table)] if table.is_file() else []
    there = {(float(r["gamma"]), int(r["critic_updates"]), int(r["transitions"])) for r in rows}
    for case in cases(settings) if settings.measure else ():
        if case not in there:
            rows += measured(case, settings)
            write_table(table, rows)
            print(*case, *(f"{x:.3g}" for x in curve(rows, case, "learned")), flush=True)
    draw(rows, settings, out / "horizon_map.png")


if __name__ == "__main__":
    with exit_on_error():
        main(parse_command(MapSettings, sys.argv[1:]))
