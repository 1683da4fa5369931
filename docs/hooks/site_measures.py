"""Numbers of the pages that take more than one cell of a table to find."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from diffmaac.settings import FIELDS, resolve
from diffmaac.settings.algorithms import ALGORITHMS
from diffmaac.settings.field import default_value, shown
from diffmaac.tasks import presets_of
from site_numbers import markdown, numbers, rows

NOISE = "gradient_error_noise.csv"
COLUMNS = {
    "sac": ("real", "one step", "H = 0", "nothing"),
    "mbpo": ("real and imagined", "one step", "H = 0", "data"),
    "steve": ("real", "STEVE, four critics", "H = 0", "targets"),
    "svg": ("real", "one step", "one model step at the replayed transition, its noise inferred", "one step"),
    "maac": ("real and imagined", "STEVE", "H steps", "data, targets, gradient"),
}
"""What the columns of the table of algorithms say in words."""


def algorithm_table() -> str:
    """The algorithms as rows; raises ValueError where one is not described."""
    if set(COLUMNS) != set(ALGORITHMS):
        raise ValueError(f"algorithms {sorted(ALGORITHMS)} are to be described; COLUMNS has {sorted(COLUMNS)}.")
    header = ["`algorithm=`", "data", "target of the critics", "objective of the policy", "dynamics used for"]
    return markdown(header, [[f"`{name}`", *cells] for name, cells in COLUMNS.items()], len(header))


def setting_of(task: str, name: str, **given: Any) -> str:
    """The value that a setting has for a task, unless one gives another."""
    settings = resolve(task, presets_of(task), {"env": task, **given})
    group = next(g for g in vars(settings).values() if hasattr(g, name))
    return shown(getattr(group, name)) if name in FIELDS else shown(default_value(FIELDS[name]))


def first_run_minutes() -> str:
    """Least and most minutes of the committed trainings of pendulum."""
    seconds = numbers("learning.csv", "wall_s", task="pendulum", dynamics="learned")
    return f"{min(seconds) / 60:.0f} to {max(seconds) / 60:.0f}"


def bound_over_error(horizon: int) -> str:
    """Median over seeds of the bound of Lemma 4.1 over the L2 error of the gradient."""
    found = rows(NOISE, dynamics="learned", reference="objective", horizon=horizon)
    return f"{statistics.median(float(row['bound']) / float(row['l2']) for row in found):.0e}"


def cube_toss() -> str:
    """How far central differences of several steps are from the implicit gradient, median over launch speeds."""
    found = rows("inquiries/cube_toss.csv")
    steps = [name for name in found[0] if name.startswith("difference_") and name.split("_")[1].startswith("1.0")]
    lines = []
    for throw in dict.fromkeys(row["throw"] for row in found):
        tossed = [row for row in found if row["throw"] == throw]
        cells = [f"{statistics.median(_relative(row, name) for row in tossed):.0e}" for name in steps]
        lines.append([throw, *cells])
    heads = [f"{float(name.split('_')[1]):.0e} m/s" for name in steps]
    return markdown(["throw", *heads], lines, 1)


def _relative(row: Mapping[str, str], name: str) -> float:
    exact = float(row["implicit"])
    return abs(float(row[name]) - exact) / abs(exact)


def solved_table(env: str) -> str:
    """Step of the first evaluation all of whose episodes are solved: each run of figure 2, and the median."""
    found = rows("figure2.csv", env=env)
    lines = []
    for curve in dict.fromkeys(row["curve"] for row in found):
        firsts = [
            _first_solved([r for r in found if (r["curve"], r["seed"]) == (curve, seed)])
            for seed in dict.fromkeys(r["seed"] for r in found if r["curve"] == curve)
        ]
        solved = sorted(first for first in firsts if first is not None)
        middle = sorted(first if first is not None else 10**9 for first in firsts)[len(firsts) // 2]
        median = f"{middle:,}" if middle < 10**9 else "not yet"
        lines.append([curve, median, f"{len(solved)} of {len(firsts)}", ", ".join(f"{s:,}" for s in solved)])
    return markdown(["", "median step", "runs", "each"], lines, 1)


def _first_solved(evaluations: list[Mapping[str, str]]) -> int | None:
    return next((int(row["step"]) for row in evaluations if row["solved"] and float(row["solved"]) == 1), None)


def returns_table(file: str, env: str, steps: list[int]) -> str:
    """Curves of a figure: mean and each run at some steps."""
    header = ["", *(f"after {step:,} steps: mean (each run)" for step in steps), "wall time, median [min]"]
    lines = []
    for curve in dict.fromkeys(row["curve"] for row in rows(file, env=env)):
        cells = []
        for step in steps:
            found = numbers(file, "return", env=env, curve=curve, step=step)
            cells.append(f"**{statistics.fmean(found):,.0f}** ({', '.join(f'{x:,.0f}' for x in found)})")
        seconds = numbers(file, "seconds", env=env, curve=curve, step=steps[-1])
        lines.append([curve, *cells, f"{statistics.median(seconds) / 60:.0f}"])
    return markdown(header, lines, 1)


def last_returns(file: str) -> str:
    """Every curve of every environment at the last step of its runs: mean, and each run."""
    lines = []
    for env, curve in dict.fromkeys((row["env"], row["curve"]) for row in rows(file)):
        last = max(int(step) for step in numbers(file, "step", env=env, curve=curve))
        found = numbers(file, "return", env=env, curve=curve, step=last)
        each = ", ".join(f"{x:,.0f}" for x in found)
        lines.append([env, curve, f"{last:,}", f"**{statistics.fmean(found):,.0f}**", each])
    return markdown(["environment", "curve", "steps", "return, mean", "each run"], lines, 2)


def share(file: str, env: str, curve: str, of: str, step: int) -> str:
    """A curve's mean return in percent of another's."""
    one, other = (statistics.fmean(numbers(file, "return", env=env, curve=c, step=step)) for c in (curve, of))
    return f"{100 * one / other:.0f} %"


def planning_table() -> str:
    """Table 1: returns with and without planning, and the gain of a run."""
    header = ["task", "runs", "alone", "planned", "gain of a run", "runs that gain", "ms a step", "ten at once [ms]"]
    return markdown(header, [_planned(env) for env in dict.fromkeys(row["env"] for row in rows("table1.csv"))], 1)


def _planned(env: str) -> list[str]:
    none, cem = (
        {r["seed"]: float(r["return"]) for r in rows("table1.csv", env=env, planner=p)} for p in ("none", "cem")
    )
    gains = [cem[seed] - none[seed] for seed in cem]
    gain, spread = (_two_digits(f(gains)) for f in (statistics.fmean, statistics.stdev))
    returns = [f"{statistics.fmean(x.values()):,.1f}" for x in (none, cem)]
    times = [numbers("table1.csv", c, env=env, planner="cem") for c in ("plan_ms", "plan_together_ms")]
    better = str(sum(x > 0 for x in gains))
    return [
        env,
        str(len(gains)),
        *returns,
        f"{gain} ± {spread}",
        better,
        *(f"{statistics.median(t):.0f}" for t in times),
    ]


def _two_digits(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 10 else f"{x:.2g}"


def zoo_table() -> str:
    """For each package of the zoo: models, errors, times beside central differences."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows("zoo.csv"):
        groups.setdefault(row["model"].split("/")[0], []).append(row)
    lines = []
    for package, models in groups.items():
        engine = [m for m in models if m["gradient"].startswith("Engine")]
        faster = _times_faster(engine)
        lines.append(
            [
                package,
                str(len(models)),
                str(len(engine)),
                f"{max(float(m['median']) for m in models):.1e}",
                f"{max(float(m['p99']) for m in models):.1e}",
                f"{statistics.median(faster):.1f} ({min(faster):.1f} to {max(faster):.1f})",
                f"{statistics.median(float(m['first_s']) for m in models):.2f} s",
            ]
        )
    header = [
        "package",
        "models",
        "by inverse dynamics",
        "worst median error",
        "worst 99th percentile",
        "times faster, median (range)",
        "first gradient",
    ]
    return markdown(header, lines, 1)


def speed_table() -> str:
    """Updates on one and two threads against their own matrix products."""
    one, two = ({row["what"]: row for row in rows(f"speed-{n}.csv")} for n in (1, 2))
    lines = [
        [what, row["mflop"], row["ms"], row["ratio_to_floor"], two[what]["ms"], two[what]["ratio_to_floor"]]
        for what, row in one.items()
        if not what.startswith("product")
    ]
    return markdown(["workload", "MFLOP", "1 thread [ms]", "over floor", "2 threads [ms]", "over floor"], lines, 1)


def parts_table() -> str:
    """Table 2: seconds of 1,000 environment steps."""
    lines = []
    parts = ("model_s", "optimisation_s", "imagination_s", "environment_s", "total_s")
    for file in ("table2.csv", "table2_half_cheetah.csv"):
        for env, algorithm in dict.fromkeys((r["env"], r["algorithm"]) for r in rows(file)):
            cells = [f"{statistics.median(numbers(file, p, env=env, algorithm=algorithm)):.1f}" for p in parts]
            lines.append([env, algorithm.upper(), *cells])
    return markdown(["task", "algorithm", "model", "optimisation", "imagination", "environment", "total"], lines, 2)


def headline_table() -> str:
    """Ten episodes of each checkpoint of the longest run: the policy's mode, and sampled actions."""
    file = "inquiries/mode_and_sample.csv"
    steps = list(dict.fromkeys(row["step"] for row in rows(file)))
    lines = [
        [f"{int(step):,}", *(f"{numbers(file, 'return', step=step, actions=a)[0]:,.0f}" for a in ("mode", "sampled"))]
        for step in steps
    ]
    return markdown(["step", "the policy's mode", "sampled actions"], lines, 1)


def passes(run: str, level: float) -> str:
    """The steps at which a committed run's evaluation is above `level`."""
    found = rows(f"runs/{run}/metrics.csv")
    return " and ".join(f"{int(r['step']):,} ({float(r['return']):,.0f})" for r in found if float(r["return"]) > level)


def fit_share(run: str, steps: list[int]) -> list[str]:
    """Seconds of the fits over those of the updates, up to some steps, of a committed run."""
    found = rows(f"runs/{run}/metrics.csv")
    return [
        next(
            f"{float(r['seconds_model']) / float(r['seconds_optimisation']):.2f}" for r in found if int(r["step"]) == s
        )
        for s in steps
    ]


def averaged_policy(low: int, high: int) -> list[str]:
    """Mean returns of the policy of the moment and of the mean policy from step `low` to `high`, then their falls."""
    found = [
        r for r in rows("runs/half_cheetah-bounded-s0/metrics.csv") if low <= int(r["step"]) <= high and r["avg_return"]
    ]
    return [f"{statistics.fmean(float(r[name]) for r in found):,.0f}" for name in ("return", "avg_return")] + [
        f"{100 * statistics.fmean(float(r[name]) for r in found):.0f} %" for name in ("fall_share", "avg_fall_share")
    ]


def zoo_faster() -> str:
    """How much faster than central differences: median over the zoo's models by inverse dynamics."""
    return f"{statistics.median(_times_faster(r for r in rows('zoo.csv') if r['gradient'].startswith('Engine'))):.1f}"


def _times_faster(models: Iterable[Mapping[str, str]]) -> list[float]:
    """Than central differences, at batch 64, of the models for which these did not take too long."""
    return [float(m["central_ms_64"]) / float(m["ms_64"]) for m in models if m["central_ms_64"]]


def bfloat16_table() -> str:
    """The step of the first solved evaluation of the runs in float32 and in bfloat16."""
    found, lines = rows("inquiries/bfloat16.csv"), []
    for precision in dict.fromkeys(row["precision"] for row in found):
        runs = [[r for r in found if (r["precision"], r["seed"]) == (precision, seed)] for seed in ("0", "1", "2")]
        lines.append([precision, ", ".join(f"{_first_solved(run):,}" for run in runs)])
    return markdown(["", "first solved evaluation, seeds 0, 1, 2"], lines, 1)


def over_implicit(gradient: str) -> str:
    """Least and most of a gradient's time over that of the implicit one."""
    found = [row for row in rows("physics_speed.csv") if row["gradient"].startswith(gradient)]
    times = [float(row["relative_to_implicit"]) for row in found]
    return f"{min(times):.1f} to {max(times):.1f}"


def readme_table() -> str:
    """The small table of the README: half_cheetah at the end of figure 2."""
    lines = []
    for curve in dict.fromkeys(row["curve"] for row in rows("figure2.csv", env="half_cheetah")):
        found = {"env": "half_cheetah", "curve": curve, "step": 20000}
        returns = numbers("figure2.csv", "return", **found)
        minutes = statistics.median(numbers("figure2.csv", "seconds", **found)) / 60
        cells = [f"**{statistics.fmean(returns):,.0f}**", ", ".join(f"{x:,.0f}" for x in returns), f"{minutes:.0f} min"]
        lines.append([curve, *cells])
    return markdown(["", "return, mean", "each run", "wall time (median)"], lines, 1)
