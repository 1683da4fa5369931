"""Settings: typed dataclasses, one group for each part of the library, addressed by one flat word each.

A group is what a part receives (`ModelSettings` goes to the ensemble and to nobody else). Leaf names are unique over
all groups, so the command line, a YAML file and Python say the same flat words: ``horizon=4``. The defaults are the
reference settings of the paper (the preset ``paper``); every other preset is a mapping of changes to them.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from diffmaac.errors import SettingError, unknown


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    words: Iterable[str] = (),
) -> Any:
    """A dataclass field with its meaning and its allowed values: bounds (inclusive), choices, words beside numbers."""
    metadata = {"help": help, "low": low, "high": high, "choices": tuple(choices), "words": tuple(words)}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class RunSettings:
    """What is run, and where."""

    env: str = setting("pendulum", "task to train on (`diffmaac envs` lists them)")
    dynamics: str = setting("learned", "what the gradient flows through", choices=("learned", "true", "mixed"))
    mixed_values: str = setting(
        "true", "whose states dynamics=mixed visits; the derivatives are the other's", choices=("learned", "true")
    )
    algorithm: str = setting("maac", "algorithm", choices=("maac", "mbpo", "sac", "steve", "svg"))
    preset: str = setting("quick", "settings to start from", choices=("paper", "quick"))
    seed: int = setting(0, "seed of every random stream", 0, 2**31 - 1)
    steps: int = setting(200_000, "environment steps in total", 1, 10**9)
    device: str = setting("cpu", "where torch computes", choices=("cpu", "cuda"))
    threads: int = setting(0, "torch threads; 0 leaves torch's own choice", 0, 1024)
    out: str = setting("", "run directory; empty: runs/<task>-<algorithm>-<dynamics>-s<seed>-<time>")


@dataclass(frozen=True)
class AgentSettings:
    """Policy, critic and the objectives that train them."""

    horizon: int | str = setting(
        4, "H, dynamics steps that the policy gradient backpropagates through; 0 is SAC's actor", 0, words=("auto",)
    )
    auto_horizons: list[int] = setting([0, 1, 2, 4, 8], "horizons among which horizon=auto chooses each epoch", 0)
    samples: int = setting(5, "trajectories for each start state of the actor's objective", 1)
    batch_size: int = setting(256, "transitions in a critic batch", 1)
    actor_batch_size: int = setting(0, "start states in an actor batch, at most batch_size; 0: batch_size", 0)
    updates_per_step: int = setting(8, "critic updates for each environment step", 1)
    actor_every: int = setting(1, "critic updates for each actor update", 1)
    actor_objective: str = setting(
        "pathwise", "what the policy climbs: J_H, or SVG(1) at replayed transitions", choices=("pathwise", "svg")
    )
    importance_clip: float = setting(5.0, "largest importance weight of a replayed action (SVG)", 1e-6)
    critics: int = setting(2, "critics; of more than two, pairs take the minimum and are averaged", 1)
    entropy: bool = setting(True, "reward the policy's entropy; false: temperature 0")
    critic_target: str = setting("steve", "target of the critic", choices=("steve", "td"))
    steve_horizon: int = setting(2, "model steps of the longest STEVE target", 0)
    steve_floor: float = setting(0.5, "floor of STEVE's variances, in units of their batch mean", 1e-6)
    gamma: float = setting(0.99, "discount factor", 0.0, 1.0)
    tau: float = setting(0.005, "rate at which target critics follow", 0.0, 1.0)
    actor_lr: float = setting(3e-4, "Adam step size of the policy", 1e-12)
    critic_lr: float = setting(3e-4, "Adam step size of the critics", 1e-12)
    alpha_lr: float = setting(3e-4, "Adam step size of the temperature", 1e-12)
    initial_alpha: float = setting(1.0, "temperature at the start", 1e-12)
    target_entropy: float = setting(-1.0, "entropy that the temperature aims at, for each action dimension [nats]")
    hidden: list[int] = setting([256, 256], "widths of the hidden layers of policy and critics", 1)
    adjoint_clip: float = setting(
        0.0, "norm, in medians of the batch, to which each state's gradient is clipped on its way back; 0: none", 0.0
    )
    max_grad_norm: float = setting(100.0, "norm to which the policy gradient is clipped", 1e-12)

    @property
    def start_states(self) -> int:
        """Start states in an actor batch."""
        return self.actor_batch_size or self.batch_size


@dataclass(frozen=True)
class ModelSettings:
    """The probabilistic ensemble and how it is fitted."""

    members: int = setting(8, "members of the ensemble", 1)
    model_hidden: list[int] = setting([200, 200, 200, 200], "widths of the hidden layers of a member", 1)
    model_lr: float = setting(1e-3, "Adam step size of the ensemble", 1e-12)
    model_batch_size: int = setting(256, "transitions in a batch, for each member", 1)
    model_every: int = setting(1000, "environment steps between two fits", 1)
    model_epochs: int = setting(200, "most epochs of one fit", 1)
    model_patience: int = setting(5, "epochs without improvement on held-out data after which a fit stops", 1)
    validation: float = setting(0.2, "share of the data held out", 0.01, 0.9)
    weight_decay: float = setting(0.0, "L2 penalty on the weights (not on biases and bounds of the variance)", 0.0)


@dataclass(frozen=True)
class DataSettings:
    """Real and imagined data."""

    random_steps: int = setting(5000, "environment steps of uniformly random actions at the start", 10)
    reset_every: int = setting(0, "most environment steps of a training episode; 0: as many as the task's", 0)
    data: str = setting("mixed", "what critic and policy train on", choices=("mixed", "real"))
    real_ratio: float = setting(0.05, "share of real transitions in a mixed batch", 0.0, 1.0)
    imagined_states: int = setting(100_000, "imagined transitions made each time, all rollout steps together", 1)
    imagine_every: int = setting(250, "environment steps between two imaginations", 1)
    imagined_keep: int = setting(4, "imaginations that the imagined replay keeps", 1)
    rollout_length: list[int] = setting(
        [1, 1], "length of imagined rollouts at the start and at the end of the ramp", 1
    )
    rollout_ramp: list[int] = setting([20_000, 100_000], "environment steps between which the length grows", 0)


@dataclass(frozen=True)
class ReportSettings:
    """Evaluation, logging, checkpoints."""

    epoch_steps: int = setting(1000, "environment steps between two evaluations, log rows and checkpoints", 1)
    eval_episodes: int = setting(3, "episodes of an evaluation", 1)
    final_episodes: int = setting(10, "episodes of the evaluation after training", 1)
    tensorboard: bool = setting(True, "write TensorBoard events beside metrics.csv")
    log_model_error: bool = setting(False, "log eps_f, the error of the model's derivatives, every five epochs")


@dataclass(frozen=True)
class PlanSettings:
    """The cross-entropy method; the defaults are those of the paper's authors."""

    candidates: int = setting(256, "action sequences in each iteration", 2)
    elites: float = setting(0.1, "share of the candidates that the next ones are drawn around", 1e-6, 1.0)
    iterations: int = setting(5, "iterations", 1)
    plan_horizon: int = setting(5, "actions in a sequence", 1)


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on."""

    run: RunSettings = field(default_factory=RunSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


GROUPS: dict[str, type] = {
    "run": RunSettings,
    "agent": AgentSettings,
    "model": ModelSettings,
    "data": DataSettings,
    "report": ReportSettings,
}
FIELDS: dict[str, dataclasses.Field] = {f.name: f for group in GROUPS.values() for f in dataclasses.fields(group)}


def default_of(name: str) -> Any:
    """The default value of setting `name` (a fresh copy where it is a list)."""
    return _default(FIELDS[name])


def check_file(name: str, file: Path, endings: tuple[str, ...] = ()) -> None:
    """Raises SettingError where setting `name` gives a `file` whose directory is not there, or that ends otherwise."""
    if not file.parent.is_dir():
        raise SettingError(f"{name}={file}: there is no directory '{file.parent}'. Make it, or give another {name}=.")
    if endings and file.suffix not in endings:
        *others, last = endings
        raise SettingError(f"{name}={file}: must end in {', '.join(others) + ' or ' if others else ''}{last}.")


def describe(fields: Iterable[dataclasses.Field]) -> list[str]:
    """A line for each setting: its name, default, meaning and allowed values."""
    lines = []
    for f in fields:
        allowed = f" [{values}]" if (values := allowed_range(f)) else ""
        default = str(_default(f)).replace(" ", "") or "''"
        lines.append(f"  {f.name}={default}".ljust(34) + f.metadata["help"] + allowed)
    return lines


def _default(f: dataclasses.Field) -> Any:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """``["horizon=4", "dynamics=true"]`` -> ``{"horizon": 4, "dynamics": True}``, as YAML reads the values.

    Raises SettingError where a word has no ``=`` or its value is not YAML.
    """
    out: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value:
            raise SettingError(f"'{word}' is not a setting. Settings are written name=value, for example horizon=4.")
        if name in out:
            raise SettingError(f"{name}= is given twice, {out[name]} and {value}. Leave one away.")
        try:
            out[name] = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))["value"]  # type: ignore[index,call-overload]
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise SettingError(f"'{word}': the value cannot be read ({_first_line(error)}).") from error
    return out


def read_file(path: str | Path) -> dict[str, Any]:
    """Settings from a YAML file, flat or in their groups, as a flat mapping.

    Raises SettingError where the file is missing, is not YAML, or holds something else than settings.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError as error:
        raise SettingError(f"there is no settings file '{path}'.") from error
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        raise SettingError(f"settings file '{path}' cannot be read: {_first_line(error)}.") from error
    if not isinstance(content, dict):
        raise SettingError(f"settings file '{path}' must hold a mapping of names to values.")
    flat: dict[str, Any] = {}
    for name, value in content.items():
        grouped = name in GROUPS and isinstance(value, dict)
        flat.update(value if grouped else {str(name): value})
    return flat


def convert(values: Mapping[str, Any], fields: Mapping[str, dataclasses.Field] = FIELDS) -> dict[str, Any]:
    """Flat settings with every value of its declared type and in its allowed range.

    Raises SettingError for a name that does not exist, a value of another type or one out of range.
    """
    for name in values:
        if name not in fields:
            raise SettingError(unknown("setting", name, fields))
    return {name: _convert_one(fields[name], value) for name, value in values.items()}


Command = TypeVar("Command")


def parse_command(cls: type[Command], words: Iterable[str]) -> Command:
    """The settings of a command, a dataclass of `setting` fields, from its words. Raises as `convert` does."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**convert(parse_words(words), fields))


def given_of(command: Any, names: Iterable[str]) -> dict[str, Any]:
    """Of the settings `names` of a command those that are not their defaults."""
    wanted = frozenset(names)
    values = {f.name: (getattr(command, f.name), _default(f)) for f in dataclasses.fields(command) if f.name in wanted}
    return {name: value for name, (value, default) in values.items() if value != default}


def runs_and_words(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """Run directories, and words name=value; a directory is one though its name has an =."""
    split: dict[bool, list[str]] = {True: [], False: []}
    for argument in arguments:
        split["=" not in argument or Path(argument).is_dir()].append(argument)
    return split[True], split[False]


def assemble(*layers: Mapping[str, Any]) -> Settings:
    """Settings from flat layers, later ones first in force, over the defaults. Raises as `convert` does."""
    flat = convert({name: value for layer in layers for name, value in layer.items()})
    groups = {
        key: group(**{f.name: flat[f.name] for f in dataclasses.fields(group) if f.name in flat})
        for key, group in GROUPS.items()
    }
    settings = Settings(**groups)
    _check_together(settings)
    return settings


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its flat name."""
    return {name: value for group in dataclasses.asdict(settings).values() for name, value in group.items()}


def to_yaml(settings: Settings) -> str:
    """The settings in their groups, as YAML that `read_file` reads back."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(settings)))


def _convert_one(f: dataclasses.Field, value: Any) -> Any:
    name, choices = f.name, f.metadata["choices"]
    value = value.item() if isinstance(value, np.generic) else value
    if value in f.metadata["words"]:
        return value
    if isinstance(value, bool) and "true" in choices:  # YAML reads the word `true` as a boolean
        value = str(value).lower()
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(_schema(_value_type(f)), {"value": value}))["value"]  # type: ignore[index,call-overload]
    except OmegaConfBaseException as error:
        raise SettingError(f"{name}={value!r}: must be of type {_type_name(f)}. {f.metadata['help']}.") from error
    if choices and typed not in choices:
        raise SettingError(unknown(name, typed, choices))
    low, high = f.metadata["low"], f.metadata["high"]
    for number in typed if isinstance(typed, list) else [typed]:
        if isinstance(number, str | bool):
            continue
        if not math.isfinite(number) or not ((low is None or number >= low) and (high is None or number <= high)):
            raise SettingError(f"{name}={typed}: must be {allowed_range(f) or 'finite'}. {f.metadata['help']}.")
    return typed


@cache
def _schema(kind: Any) -> Any:
    """A structure with one `value` of type `kind`. Merging copies it."""
    return OmegaConf.structured(dataclasses.make_dataclass("Value", [("value", kind)]))


def _value_type(f: dataclasses.Field) -> Any:
    """The type of a setting, words aside."""
    return next(kind for kind in get_args(f.type) if kind is not str) if f.metadata["words"] else f.type


def allowed_range(f: dataclasses.Field) -> str:
    """The allowed values of a setting, in words; empty where everything of its type is allowed."""
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices:
        return "|".join(choices)
    if low is not None and high is not None:
        return f"between {low} and {high}"
    words = "".join(f" or {word}" for word in f.metadata["words"])
    return f"at least {low}{words}" if low is not None else ""


def _check_together(settings: Settings) -> None:
    """The conditions that bind two settings."""
    agent, data = settings.agent, settings.data
    if agent.actor_batch_size > agent.batch_size:
        raise SettingError(
            f"actor_batch_size={agent.actor_batch_size}: must be at most batch_size={agent.batch_size}, "
            "because the actor starts from states of the critic's batch."
        )
    for name, pair in (("rollout_length", data.rollout_length), ("rollout_ramp", data.rollout_ramp)):
        if len(pair) != 2 or pair[0] > pair[1]:
            raise SettingError(f"{name}={pair}: must be two numbers, the first not above the second.")
    if data.imagined_states < data.rollout_length[-1]:
        raise SettingError(
            f"imagined_states={data.imagined_states}: must be at least the longest rollout, {data.rollout_length[-1]}."
        )
    if agent.horizon == "auto" and not agent.auto_horizons:
        raise SettingError("auto_horizons=[]: horizon=auto needs at least one to choose, for example [0,1,2,4,8].")
    if agent.horizon == "auto" and agent.critics == 1:
        raise SettingError("critics=1: horizon=auto weighs how far critics disagree, and needs at least 2.")


def _type_name(f: dataclasses.Field) -> str:
    return {int: "int", float: "float", str: "str", bool: "bool"}.get(_value_type(f), str(f.type))  # type: ignore[call-overload]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
