"""`diffmaac check-gradients`: are the physics and their gradient right, on a task's model or on any MJCF?"""

import dataclasses
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mujoco
from rich.table import Table

from diffmaac.analysis.record import versions, write_table
from diffmaac.config import check_file, setting
from diffmaac.errors import SettingError, TaskError, unknown
from diffmaac.system import MujocoSystem, parse_mjcf
from diffmaac.task import Task, get_task

if TYPE_CHECKING:
    from diffmaac.analysis.gradient_check import Controls, GradientCheck

GRADIENTS = ("implicit", "unrolled", "finite_difference")


@dataclass(frozen=True)
class CheckSettings:
    """What is checked, and on how many states."""

    env: str = setting("", "task whose MuJoCo model is checked")
    model: str = setting("", "path of an MJCF to check in place of a task's")
    run: str = setting("", "run directory: states that its policy visits, of its task")
    frame_skip: int = setting(0, "time steps of a control step; 0: the task's own, 1 for model=", 0)
    states: int = setting(64, "states to compare in, with an active constraint where they can be found", 1)
    gradient: str = setting("implicit", f"one or more of {','.join(GRADIENTS)}")
    precision: str = setting("float64", "precision of the inputs", choices=("float32", "float64"))
    seed: int = setting(0, "seed of controls and cotangents", 0)
    out: str = setting("", "file for the numbers, as CSV")


@dataclass(frozen=True)
class Report:
    """The table, what to know about it, and whether every gradient is right."""

    table: Table
    advice: list[str]
    right: bool


def check(settings: CheckSettings) -> Report:
    """Raises SettingError where the settings cannot be used, or a gradient cannot do the model."""
    import diffmaac.analysis.gradient_check as checks

    gradients = settings.gradient.split(",")
    for name in gradients:
        if name not in GRADIENTS:
            raise SettingError(unknown("gradient", name, GRADIENTS))
    if settings.out:
        check_file("out", Path(settings.out))
    model, frame_skip, controls = _subject(settings)
    states = checks.visited_states(model, frame_skip, settings.states, controls, settings.seed)
    results = []
    for name in gradients:
        try:
            results.append(checks.check_gradient(model, frame_skip, states, name, settings.precision, settings.seed))
        except ValueError as error:
            raise SettingError(f"gradient={name} cannot be checked: {error}") from error
    subject = settings.run or settings.env or settings.model
    if settings.out:
        _write(Path(settings.out), subject, results)
    return Report(
        table=_table(subject, results),
        advice=[*_advice(results, settings), *checks.advice(model, frame_skip, states)],
        right=all(result.right for result in results),
    )


def _subject(settings: CheckSettings) -> "tuple[mujoco.MjModel, int, Controls | None]":
    """Model, frame skip, and the controls of the run's policy if one was given."""
    given = [name for name in ("env", "model", "run") if getattr(settings, name)]
    if len(given) != 1:
        raise SettingError(
            f"{' and '.join(f'{name}=' for name in given) or 'nothing'} was given; say exactly one of env=, model= and"
            " run=, for example env=ant."
        )
    if settings.model:
        if not Path(settings.model).is_file():
            raise SettingError(f"model={settings.model}: there is no such file.")
        return _parse(settings.model), settings.frame_skip or 1, None
    controls = None
    if settings.run:
        from diffmaac.analysis.gradient_check import policy_controls
        from diffmaac.training.run import load

        agent = load(settings.run)
        task, controls = agent.task, policy_controls(agent.act, _mujoco(agent.task))
    else:
        task = get_task(settings.env)
    system = _mujoco(task)
    return system.model, settings.frame_skip or system.frame_skip, controls


def _parse(path: str) -> mujoco.MjModel:
    try:
        return parse_mjcf(path)
    except TaskError as error:
        raise SettingError(f"model={path}: {error}") from error


def _mujoco(task: Task) -> MujocoSystem:
    if not isinstance(task.system, MujocoSystem):
        raise SettingError(f"env={task.name} has no MuJoCo model to check: its dynamics are a closed form.")
    return task.system


def _table(subject: str, results: "list[GradientCheck]") -> Table:
    """One column a gradient, one line a number."""
    table = Table(title=subject, title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for result in results:
        table.add_column(f"{result.gradient.removesuffix('()')}", justify="right")
    lines = {
        "states, of which with an active constraint": lambda r: f"{r.states}, {r.constrained}",
        "states that diverge in the C engine": lambda r: r.diverged,
        "states on a kink, not compared": lambda r: r.kinks,
        "one step: error against the C engine, median": lambda r: f"{r.step_median:.1e}",
        "one step: largest error; states off": lambda r: f"{r.step_max:.1e}; {r.steps_off}",
        "gradient: relative error, median": lambda r: f"{r.vjp_median:.1e}",
        "gradient: relative error, 99th percentile": lambda r: f"{r.vjp_p99:.1e}",
        "gradient: relative error, largest": lambda r: f"{r.vjp_max:.1e}",
        "states whose gradient is not finite": lambda r: r.nan,
        "first gradient, cold and from the cache [s]": lambda r: f"{r.cold_s:.1f}, {r.warm_s:.1f}",
        "a step without gradient, all states [ms]": lambda r: f"{r.forward_ms:.1f}",
        "a step with its gradient, all states [ms]": lambda r: f"{r.both_ms:.1f}",
        "verdict": lambda r: "right" if r.right else "WRONG",
    }
    for name, cell in lines.items():
        table.add_row(name, *(str(cell(result)) for result in results))
    return table


def _advice(results: "list[GradientCheck]", settings: CheckSettings) -> Iterable[str]:
    from diffmaac import physics

    if any(result.kinks for result in results):
        yield (
            "On a kink (a contact or limit that switches within 1e-7) there are only one-sided derivatives; the"
            " gradient is one of them."
        )
    if settings.precision == "float32" and not physics.on_cpu():
        yield (
            "GPUs multiply float32 matrices in TF32 by default, which costs digits: set"
            " JAX_DEFAULT_MATMUL_PRECISION=highest."
        )


def _write(path: Path, subject: str, results: "list[GradientCheck]") -> None:
    where = {
        "versions": versions("diffmaac", "mujoco", "mujoco-mjx", "jax", "torch"),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    rows = [{"subject": subject, **dataclasses.asdict(result), "right": result.right} for result in results]
    write_table(path, [{**row, **where} for row in rows])
