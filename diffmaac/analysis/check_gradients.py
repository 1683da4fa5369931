"""Are the physics and their gradient right, on a task's model or on any MJCF?"""

import dataclasses
from pathlib import Path
from typing import Unpack

import mujoco

from diffmaac import physics
from diffmaac.analysis import physics_check
from diffmaac.analysis.physics_check import Controls, GradientCheck, policy_controls
from diffmaac.analysis.settings import CheckSettings
from diffmaac.errors import SettingError, TaskError
from diffmaac.files import write_table
from diffmaac.keywords import CheckKeywords
from diffmaac.provenance import circumstances
from diffmaac.result import Result, Table
from diffmaac.settings import build
from diffmaac.system import MujocoSystem, parse_mjcf
from diffmaac.task import Task
from diffmaac.tasks import get_task
from diffmaac.training.agent import load


def check_gradients(**words: Unpack[CheckKeywords]) -> Result[list[GradientCheck]]:
    """Compares a model's step and gradient with MuJoCo's C engine, as ``diffmaac check-gradients`` does.

    `words` are that command's settings. The result has passed where every gradient is right.

    Raises SettingError where the settings cannot be used, or a gradient cannot do the model.
    """
    settings = build(CheckSettings, words)
    model, frame_skip, controls = _subject(settings)
    states = physics_check.visited_states(model, frame_skip, settings.states, controls, settings.seed)
    checks: list[GradientCheck] = []
    for name in settings.gradient:
        try:
            checks.append(
                physics_check.check_gradient(model, frame_skip, states, name, settings.precision, settings.seed)
            )
        except ValueError as error:
            raise SettingError(f"gradient={name} cannot be checked: {error}") from error
    subject = settings.run or settings.env or settings.model
    files = [Path(settings.out)] if settings.out else []
    for file in files:
        made = circumstances("mujoco-mjx", "jax")
        rows = [{"subject": subject, **dataclasses.asdict(check), "right": check.right, **made} for check in checks]
        write_table(file, rows)
    return Result(
        value=checks,
        table=_table(subject, checks),
        notes=[*_notes(checks, settings), *physics_check.advice(model, frame_skip, states)],
        files=files,
        passed=all(check.right for check in checks),
    )


def _subject(settings: CheckSettings) -> tuple[mujoco.MjModel, int, Controls | None]:
    """Model, frame skip, and the controls of the run's policy where there is a run."""
    names = [name for name in ("env", "model", "run") if getattr(settings, name)]
    if len(names) != 1:
        raise SettingError(
            f"{' and '.join(f'{name}=' for name in names) or 'nothing'} was given; say exactly one of env=, model= and"
            " run=, for example env=ant."
        )
    if settings.model:
        return _parse(settings.model), settings.frame_skip or 1, None
    controls = None
    if settings.run:
        agent = load(settings.run)
        task, controls = agent.task, policy_controls(agent.act, _mujoco(agent.task))
    else:
        task = get_task(settings.env)
    system = _mujoco(task)
    return system.model, settings.frame_skip or system.frame_skip, controls


def _parse(path: str) -> mujoco.MjModel:
    if not Path(path).is_file():
        raise SettingError(f"model={path}: there is no such file.")
    try:
        return parse_mjcf(path)
    except TaskError as error:
        raise SettingError(f"model={path}: {error}") from error


def _mujoco(task: Task) -> MujocoSystem:
    if not isinstance(system := task.system.physics(), MujocoSystem):
        raise SettingError(f"env={task.name} has no MuJoCo model to check: its dynamics are a closed form.")
    return system


def _table(subject: str, checks: list[GradientCheck]) -> Table:
    """One column a gradient, one line a number."""
    lines = {
        "states, of which with an active constraint": lambda c: f"{c.states}, {c.constrained}",
        "states that diverge in the C engine": lambda c: c.diverged,
        "states on a kink, not compared": lambda c: c.kinks,
        "one step: error against the C engine, median": lambda c: f"{c.step_median:.1e}",
        "one step: largest error; states off": lambda c: f"{c.step_max:.1e}; {c.steps_off}",
        "gradient: relative error, median": lambda c: f"{c.vjp_median:.1e}",
        "gradient: relative error, 99th percentile": lambda c: f"{c.vjp_p99:.1e}",
        "gradient: relative error, largest": lambda c: f"{c.vjp_max:.1e}",
        "states whose gradient is not finite": lambda c: c.nan,
        "first gradient, cold and from the cache [s]": lambda c: f"{c.cold_s:.1f}, {c.warm_s:.1f}",
        "a step without gradient, all states [ms]": lambda c: f"{c.forward_ms:.1f}",
        "a step with its gradient, all states [ms]": lambda c: f"{c.both_ms:.1f}",
        "verdict": lambda c: "right" if c.right else "WRONG",
    }
    header = ["", *(check.gradient.removesuffix("()") for check in checks)]
    return Table(header, [[name, *(str(cell(check)) for check in checks)] for name, cell in lines.items()], subject)


def _notes(checks: list[GradientCheck], settings: CheckSettings) -> list[str]:
    notes = []
    if any(check.kinks for check in checks):
        notes.append(
            "On a kink (a contact or limit that switches within 1e-7) there are only one-sided derivatives; the"
            " gradient is one of them."
        )
    if settings.precision == "float32" and not physics.on_cpu():
        notes.append(
            "GPUs multiply float32 matrices in TF32 by default, which costs digits: set"
            " JAX_DEFAULT_MATMUL_PRECISION=highest."
        )
    return notes
