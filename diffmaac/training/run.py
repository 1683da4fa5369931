"""A run on disk: its directory, its settings, and the policy that can be loaded from it."""

import dataclasses
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diffmaac.training.checkpoint as checkpoint
from diffmaac import seeding
from diffmaac.config import GROUPS, Settings, assemble, read_file, to_yaml
from diffmaac.errors import CheckpointError, SettingError
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.presets import resolve
from diffmaac.task import Task, get_task
from diffmaac.training.evaluate import Evaluation, evaluate

CONFIG, CHECKPOINT, FIGURES, VIDEOS = "config.yaml", "checkpoint", "figures", "videos"
LOCK = ".lock"
RESUME_MAY_CHANGE = frozenset({"steps", "threads", "final_episodes", "tensorboard", "max_grad_norm"})
"""Settings that can be given together with ``resume=``; the others are part of what the run is."""

INCIDENTAL = frozenset({"seed", "out", "steps", "threads", "tensorboard", "final_episodes", "device"})
"""Settings that do not make a run another experiment."""


def create_directory(settings: Settings) -> Path:
    """Makes the directory of a new run. Raises SettingError where it exists or cannot be made."""
    run = settings.run
    name = f"{run.env}-{run.algorithm}-{run.dynamics}-s{run.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path(run.out) if run.out else Path("runs") / name
    if path.exists():
        raise SettingError(f"run directory '{path}' exists. Continue it with resume={path}, or give another out=.")
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise SettingError(f"run directory '{path}' cannot be made: {error.strerror}. Give another out=.") from error
    return path


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keeps the run in `path` to the caller; the operating system gives it free again however the process ends.

    Raises SettingError where the run is being trained already, OSError where nothing can be written there. On a file
    system without locks it does nothing.
    """
    with (path / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingError(
                f"the run in '{path}' is being trained already. Wait for its end, or stop it."
            ) from error
        except OSError:
            pass
        yield


def write_settings(path: Path, settings: Settings) -> None:
    """Writes the resolved settings of the run in `path`, in one rename."""
    partial = path / f"{CONFIG}.partial"
    partial.write_text(to_yaml(settings))
    partial.replace(path / CONFIG)


def read_settings(path: Path, given: dict[str, Any], env: str | Task | None = None) -> tuple[Task, Settings]:
    """Task and settings of the run in `path`, changed by `given`.

    Raises CheckpointError as `stored_settings` does, SettingError for a setting that cannot change on resuming.
    """
    stored, _ = _stored(path)
    name = env.name if isinstance(env, Task) else env
    if name is not None and name != stored["env"]:
        raise SettingError(f"env={name}: the run in '{path}' was made with env={stored['env']}. Leave env= away.")
    for name in given:
        if name not in RESUME_MAY_CHANGE:
            raise SettingError(f"{name}= cannot change when resuming; {', '.join(sorted(RESUME_MAY_CHANGE))} can.")
    try:
        task = get_task(env if env is not None else stored["env"])
    except SettingError as error:
        raise CheckpointError(f"the run in '{path}' cannot be loaded: {error}") from error
    return resolve(task, {**stored, **given})


def stored_settings(path: Path) -> Settings:
    """The settings of the run in `path`, whose task need not be registered.

    Raises CheckpointError where there is no run, or its settings are not such as `write_settings` writes.
    """
    return _stored(path)[1]


def _stored(path: Path) -> tuple[dict[str, Any], Settings]:
    """What config.yaml says, and the complete settings that it makes."""
    file = path / CONFIG
    if not file.is_file():
        raise CheckpointError(f"'{path}' is not a run directory: it has no {CONFIG}. `diffmaac train` makes one.")
    try:
        stored = read_file(file)
        settings = assemble(stored)
    except SettingError as error:
        raise CheckpointError(f"'{file}' is damaged or was edited: {error} Restore it from a copy.") from error
    missing = [key for key, group in GROUPS.items() if not stored.keys() & {f.name for f in dataclasses.fields(group)}]
    if missing or "env" not in stored:
        raise CheckpointError(
            f"'{file}' holds no settings of {', '.join(missing) or 'env'}: it is truncated or was edited."
            " Restore it from a copy."
        )
    return stored, settings


def check_device(settings: Settings) -> None:
    """Raises SettingError where the device of `settings` is not there."""
    if settings.run.device == "cuda" and not torch.cuda.is_available():
        raise SettingError("device=cuda: torch sees no CUDA device. Use device=cpu, or install a CUDA build of torch.")


def check_task(task: Task, state: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError where the checkpoint's task is not `task` as it is now."""
    now = task.fingerprint()
    if state.get("task", now) != now:
        raise CheckpointError(
            f"task '{task.name}' has changed since the run in '{path}' was made: its motion, reward or episode is"
            " another. Restore the task as it was, or train anew."
        )


@dataclass(frozen=True)
class Agent:
    """A trained policy, ready to act."""

    task: Task
    policy: SquashedGaussianPolicy
    settings: Settings
    step: int

    @torch.no_grad()
    def act(self, obs: np.ndarray | torch.Tensor) -> np.ndarray:
        """The action of the policy's mode: (*batch, obs) -> (*batch, action), in [-1, 1].

        Raises ValueError where the last dimension of `obs` is not the task's observation size.
        """
        obs = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
        if obs.shape[-1:] != (self.task.obs_size,):
            raise ValueError(f"obs has shape {tuple(obs.shape)}; the last dimension must be {self.task.obs_size}.")
        return self.policy.mode(obs).numpy()

    def evaluate(self, episodes: int, seed: int | None = None) -> Evaluation:
        """Returns over `episodes` episodes with fixed start states (those of training's own evaluation by default).

        Raises SettingError where `episodes` is not positive.
        """
        return evaluate(self.task, self.policy.mode, episodes, self.settings.run.seed if seed is None else seed)


def load(path: str | Path, env: str | Task | None = None) -> Agent:
    """The agent of the run in `path`. `env` gives the task where it is the user's own and not registered.

    Raises CheckpointError where the run or its checkpoint is missing, damaged or from another version.
    """
    path = Path(path)
    task, settings = read_settings(path, {}, env)
    step, state = checkpoint.load(path / CHECKPOINT)
    check_task(task, state, path)
    policy = SquashedGaussianPolicy(
        task.obs_size, task.action_size, settings.agent.hidden, seeding.torch_generator(0, "load")
    )
    try:
        policy.load_state_dict(state["agent"]["policy"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint of '{path}' does not fit task '{task.name}'. Has the task changed?"
        ) from error
    return Agent(task, policy.requires_grad_(False), settings, step)
