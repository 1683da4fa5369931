"""Parts of the reference that are made from the library itself: settings, commands, tasks, files, errors."""

import dataclasses
import inspect
import re
from typing import Any

import mujoco

import diffmaac
from diffmaac import errors, tasks
from diffmaac.analysis import settings as analysis
from diffmaac.commands import (
    check_gradients,
    envs,
    evaluate,
    export,
    gradient_error,
    model_error,
    plot,
    report,
    reproduce,
    runs,
    sweep,
    train,
)
from diffmaac.commands import settings as settings_command
from diffmaac.experiments import settings as experiments
from diffmaac.settings import GROUPS, about, fields_of
from diffmaac.settings.field import allowed_range, default_value, shown
from diffmaac.settings.presets import PRESETS
from diffmaac.system import MujocoSystem
from diffmaac.task import Task
from site_numbers import markdown

COMMANDS: dict[str, tuple[Any, type | None]] = {
    "train": (train, None),
    "evaluate": (evaluate, analysis.EvaluateSettings),
    "plot": (plot, experiments.PlotSettings),
    "report": (report, analysis.PageSettings),
    "export": (export, analysis.ExportSettings),
    "sweep": (sweep, experiments.SweepSettings),
    "runs": (runs, experiments.RunsSettings),
    "reproduce": (reproduce, experiments.ReproduceSettings),
    "check-gradients": (check_gradients, analysis.CheckSettings),
    "gradient-error": (gradient_error, analysis.GradientErrorSettings),
    "model-error": (model_error, analysis.ModelErrorSettings),
    "envs": (envs, None),
    "settings": (settings_command, None),
}
"""Command -> its module, and the settings that it takes."""
JOINTS = {
    mujoco.mjtJoint.mjJNT_SLIDE: ("m", "m/s"),
    mujoco.mjtJoint.mjJNT_HINGE: ("rad", "rad/s"),
}
"""Kind of a joint with one coordinate -> units of its position and of its velocity."""


def _code(text: str) -> str:
    return f"`{text}`"


def _plain(text: str) -> str:
    """Text of a cell, nothing of which is Markdown or HTML."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def settings_table(fields: dict[str, dataclasses.Field[Any]], quick: bool = False) -> str:
    """A table of settings from their metadata: name, default, meaning, what is allowed."""
    lines = []
    for name, f in fields.items():
        known, default = about(f), default_value(f)
        cells = [_code(name), _code(shown(default) or "''")]
        if quick:
            other = PRESETS["quick"].get(name, default)
            cells.append(_code(shown(other)) if other != default else "")
        help_text = _plain(known.help)
        if quick and known.resumes:
            help_text += " ↻"
        lines.append([*cells, help_text, allowed_range(f).replace("|", ", ")])
    header = ["setting", "paper", "quick", "meaning", "allowed"] if quick else ["word", "default", "meaning", "allowed"]
    return markdown(header, lines, len(header))


def all_settings() -> str:
    """Every setting of a run, a section for each group."""
    parts = []
    for name, group in GROUPS.items():
        parts += [f"## {name}", (inspect.getdoc(group) or ""), settings_table(fields_of(group), quick=True)]
    return "\n\n".join(parts)


def command(name: str) -> str:
    """A command's help as a section: what it does, examples, its words."""
    module, settings = COMMANDS[name]
    text = train.INTRO if name == "train" else module.HELP.split("\n\b\n  candidates")[0]
    if settings is not None:
        first = next(iter(fields_of(settings)))
        text = re.split(rf"\n\n\x08\n  {first}=", module.HELP)[0]
    parts = [_prose(text)]
    if settings is not None:
        parts.append(settings_table(fields_of(settings)))
    return "\n\n".join(parts)


def _prose(text: str) -> str:
    """Help text as Markdown: blocks that the terminal leaves as they are become code, or a list."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.replace("\b\n", "").replace("\b", "").splitlines()
        if all(line.startswith("  ") for line in lines):
            inner = "\n".join(line[2:] for line in lines)
            commands_inside = any(line.startswith("diffmaac") for line in inner.splitlines())
            language = "sh" if commands_inside else "text"
            blocks.append(f"```{language}\n{inner}\n```")
        else:
            blocks.append(" ".join(line.strip() for line in lines))
    return "\n\n".join(blocks)


def public_names() -> list[str]:
    """The names that `import diffmaac` hands out."""
    return sorted(diffmaac._MODULES)


def task_names() -> list[str]:
    """Our own tasks, in the order of `pyproject.toml`."""
    order = ["double_integrator", "pendulum", "cartpole", "half_cheetah", "hopper", "walker2d", "ant"]
    return [name for name in order if name in tasks.task_names()]


def task_facts(name: str) -> str:
    """Sizes, times, reward and source of a task as a table."""
    task = tasks.get_task(name)
    seconds = task.dt * task.episode_steps
    facts = [
        ("Observation", f"{task.obs_size} numbers"),
        ("Action", f"{task.action_size} in [-1, 1]"),
        ("Control step", f"{task.dt:g} s"),
        ("Episode", f"{task.episode_steps:,} steps, {seconds:g} s; it never terminates early"),
        ("Reward of a step", _code(task.reward_text)),
        ("Source", task.reference),
        ("Gymnasium id", _code(f"diffmaac/{_camel(name)}-v0")),
    ]
    if task.criterion is not None:
        facts.append(
            ("Solved", f"the score '{task.criterion.name}' of an episode is above {task.criterion.threshold:g}")
        )
    return markdown(["property", "value"], [[f"**{key}**", text] for key, text in facts], 2)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def task_words(name: str) -> str:
    """What the task's function says of observation and action."""
    module = __import__(f"diffmaac_envs.{name}", fromlist=[name])
    return (inspect.getdoc(getattr(module, name)) or "").replace("\n", "\n> ")


def task_observation(name: str) -> str:
    """Each number of a task's observation: index, meaning, unit."""
    task = tasks.get_task(name)
    lines = [[str(i), meaning, unit] for i, (meaning, unit) in enumerate(observed(task))]
    return markdown(["index", "meaning", "unit"], lines, 3)


def observed(task: Task) -> list[tuple[str, str]]:
    """(meaning, unit) of each number of the observation, from the model's joints and the task's coordinates."""
    if not isinstance(task.system, MujocoSystem):
        return [("position", "m"), ("velocity", "m/s")]
    coordinates, positions, velocities = task.system.coordinates, *_joint_names(task.system.model)
    plain = [positions[i] for i in coordinates.plain]
    angles = [positions[i][0] for i in coordinates.angles]
    cosines, sines = ([(f"{f} of {angle}", "") for angle in angles] for f in ("cosine", "sine"))
    return [*plain, *cosines, *sines, *velocities]


def _joint_names(model: mujoco.MjModel) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, unit) of each coordinate of qpos and of qvel."""
    positions, velocities = [], []
    for i in range(model.njnt):
        label = _joint(model, i)
        if int(model.jnt_type[i]) in map(int, JOINTS):
            unit, rate = JOINTS[mujoco.mjtJoint(int(model.jnt_type[i]))]
            kind = "position" if unit == "m" else "angle"
            positions.append((f"{kind} of {label}", unit))
            velocities.append((f"velocity of {label}", rate))
        else:  # a free joint; a ball joint has no translation
            free = int(model.jnt_type[i]) == int(mujoco.mjtJoint.mjJNT_FREE)
            place = [(f"{axis} of {label}", "m") for axis in "xyz"] if free else []
            positions += [*place, *((f"quaternion of {label}, {part}", "") for part in ("w", "x", "y", "z"))]
            moved = [(f"{axis} velocity of {label}", "m/s") for axis in "xyz"] if free else []
            velocities += [*moved, *((f"angular velocity of {label}, {axis}", "rad/s") for axis in "xyz")]
    return positions, velocities


def _joint(model: mujoco.MjModel, index: int) -> str:
    """A joint's name as code, or its number."""
    return _code(mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_JOINT), index) or f"joint {index}")


def task_actuators(name: str) -> str:
    """Each action of a task: the joint that it drives, and the force or torque at 1."""
    system = tasks.get_task(name).system
    if not isinstance(system, MujocoSystem):
        return markdown(["index", "drives", "at 1"], [["0", "the mass", "1 m/s²"]], 3)
    model, lines = system.model, []
    for i in range(model.nu):
        joint = int(model.actuator_trnid[i, 0])
        hinge = int(model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_HINGE)
        size = model.actuator_gear[i, 0] * model.actuator_gainprm[i, 0] * model.actuator_ctrlrange[i, 1]
        lines.append([str(i), _joint(model, joint), f"{size:g} {'Nm' if hinge else 'N'}"])
    return markdown(["index", "drives", "at 1"], lines, 3)


def task_settings(name: str) -> str:
    """What the task changes in the settings, for each preset."""
    presets = tasks.presets_of(name)
    keys = list(dict.fromkeys(key for values in presets.values() for key in values))
    lines = [[_code(key), *(_code(shown(v[key])) if key in v else "" for v in presets.values())] for key in keys]
    return markdown(["setting", *(_code(preset) for preset in presets)], lines, 1)


def error_table() -> str:
    """The failures that have a name."""
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.DiffmaacError)]
    return markdown(["error", "when"], [[_code(c.__name__), inspect.getdoc(c) or ""] for c in classes], 2)


def check_commands() -> None:
    """Raises ValueError where a command of the command line is missing on the page of commands."""
    from diffmaac.cli import app

    names = {command.name for command in app.registered_commands}
    if names != set(COMMANDS):
        raise ValueError(
            f"COMMANDS in {__file__} has {sorted(COMMANDS)}; the command line has {sorted(map(str, names))}."
        )


def task_sizes(name: str) -> str:
    """Sizes of observation and action."""
    task = tasks.get_task(name)
    return f"{task.obs_size}, {task.action_size}"


def task_dt(name: str) -> str:
    """The control step in words."""
    return f"{tasks.get_task(name).dt:g} s"


def task_reward(name: str) -> str:
    """The reward as code."""
    return _code(tasks.get_task(name).reward_text)
