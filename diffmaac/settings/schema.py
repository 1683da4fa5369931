"""The settings of a run: typed dataclasses, one group for each part of the library, addressed by one flat word each.

A group is what a part receives (`ModelSettings` goes to the ensemble's fit and to nobody else). Leaf names are unique
over all groups, so the command line, a YAML file and Python say the same flat words: ``horizon=4``. The defaults are
the reference settings of the paper (the preset ``paper``); every other preset is a mapping of changes to them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from diffmaac.errors import SettingError
from diffmaac.settings.algorithms import ALGORITHMS, differentiates, uses_dynamics
from diffmaac.settings.convert import convert, fields_of
from diffmaac.settings.field import Idle, default_value, setting
from diffmaac.settings.presets import PRESETS

DYNAMICS = ("learned", "true", "mixed")
LOGS = ("csv", "tensorboard", "wandb", "mlflow", "trackio")
MOST_ROWS = 2**20
"""Rows of a batch, at most: some thousand times those of any published setting."""
MOST_STEPS = 1000
"""Steps through dynamics, at most: an episode of the paper's tasks."""

_NO_DYNAMICS = Idle("algorithm={algorithm} has no dynamics here", lambda v: not uses_dynamics(v))
_NO_MODEL = Idle("dynamics=true has no model to fit", lambda v: v["dynamics"] == "true")
_NO_DERIVATIVE = Idle(
    "the model gives derivatives only, and none is taken",
    lambda v: v["dynamics"] == "mixed" and v["mixed_values"] == "true" and not differentiates(v),
)
_NO_MEMBERS = Idle(
    "dynamics=true has no model to fit, and no identified= to draw from",
    lambda v: v["dynamics"] == "true" and not v["identified"],
)
_REAL_DATA = Idle("data=real", lambda v: v["data"] == "real")
_TD = Idle("critic_target=td", lambda v: v["critic_target"] == "td")
_NO_ENTROPY = Idle("entropy=false", lambda v: not v["entropy"])
_MODEL = (_NO_DYNAMICS, _NO_MODEL)
_FIT = (*_MODEL, _NO_DERIVATIVE)


@dataclass(frozen=True)
class RunSettings:
    """What is run, and where."""

    env: str = setting(
        "pendulum",
        "task to train on (`diffmaac envs` lists them), or a Gymnasium id: Pendulum-v1",
        in_checkpoint=True,
    )
    dynamics: str = setting("learned", "what the gradient flows through", choices=DYNAMICS)
    identified: str = setting(
        "",
        "identified model that dynamics=true goes through, a file of Identification.save; empty: the task's own",
        idle=(_NO_DYNAMICS, Idle("dynamics={dynamics}", lambda v: v["dynamics"] != "true")),
    )
    mixed_values: str = setting(
        "true",
        "whose states dynamics=mixed visits; the derivatives are the other's",
        choices=("learned", "true"),
        idle=(Idle("dynamics={dynamics}", lambda v: v["dynamics"] != "mixed"),),
    )
    algorithm: str = setting("maac", "algorithm", choices=tuple(ALGORITHMS), in_checkpoint=True)
    preset: str = setting("quick", "settings to start from", choices=tuple(name for name in PRESETS if "/" not in name))
    seed: int = setting(0, "seed of every random stream", 0, 2**31 - 1, incidental=True, in_checkpoint=True)
    steps: int = setting(200_000, "environment steps in total", 1, 10**9, resumes=True, incidental=True)
    device: str = setting(
        "cpu",
        "where torch computes; auto: on CUDA where there is one, whose numbers are not those of the CPU",
        choices=("cpu", "cuda", "auto"),
        resumes=True,
        incidental=True,
    )
    cuda_graph: bool = setting(
        True,
        "record what repeats as CUDA graphs; false: launch each operation from Python",
        resumes=True,
        incidental=True,
        idle=(Idle("device=cpu has no graphs", lambda v: v["device"] == "cpu"),),
    )
    threads: int = setting(0, "torch threads; 0 leaves torch's own choice", 0, 1024, resumes=True, incidental=True)
    out: str = setting("", "run directory; empty: runs/<task>-<algorithm>-<dynamics>-s<seed>-<time>", incidental=True)


@dataclass(frozen=True)
class AgentSettings:
    """Policy, critic and the objectives that train them."""

    horizon: int | str = setting(
        4,
        "H, dynamics steps that the policy gradient backpropagates through; 0 is SAC's actor",
        0,
        MOST_STEPS,
        words=("auto",),
    )
    auto_horizons: list[int] = setting(
        [0, 1, 2, 4, 8],
        "horizons among which horizon=auto chooses each epoch",
        0,
        MOST_STEPS,
        idle=(Idle("horizon={horizon}", lambda v: v["horizon"] != "auto"),),
    )
    samples: int = setting(5, "trajectories for each start state of the actor's objective", 1, 10_000)
    batch_size: int = setting(256, "transitions in a critic batch", 1, MOST_ROWS)
    actor_batch_size: int = setting(
        0, "start states in an actor batch, at most batch_size; 0: batch_size", 0, MOST_ROWS
    )
    updates_per_step: int = setting(8, "critic updates for each environment step", 1, 1000)
    actor_every: int = setting(1, "critic updates for each actor update", 1, 10**6)
    actor_objective: str = setting(
        "pathwise", "what the policy climbs: J_H, or SVG(1) at replayed transitions", choices=("pathwise", "svg")
    )
    importance_clip: float = setting(
        5.0,
        "largest importance weight of a replayed action (SVG)",
        1e-6,
        idle=(Idle("replayed actions are not weighed", lambda v: v["actor_objective"] != "svg"),),
    )
    critics: int = setting(
        2, "critics; of more than two, pairs take the minimum and are averaged", 1, 100, in_checkpoint=True
    )
    layer_norm: bool = setting(False, "normalise the layers of the critics", in_checkpoint=True)
    entropy: bool = setting(True, "reward the policy's entropy; false: temperature 0")
    critic_target: str = setting("steve", "target of the critic", choices=("steve", "td"))
    steve_horizon: int = setting(2, "model steps of the longest STEVE target", 0, MOST_STEPS, idle=(_TD,))
    steve_floor: float = setting(
        0.5,
        "floor of STEVE's variances, in units of their batch mean",
        1e-6,
        idle=(_TD, Idle("steve_horizon=0 weighs one target", lambda v: v["steve_horizon"] == 0)),
    )
    gamma: float = setting(0.99, "discount factor", 0.0, 1.0)
    tau: float = setting(0.005, "rate at which target critics follow", 0.0, 1.0)
    policy_tau: float = setting(
        1.0, "rate at which the policy that is evaluated follows the one that learns; 1: they are one", 1e-6, 1.0
    )
    actor_lr: float = setting(3e-4, "Adam step size of the policy", 1e-12)
    critic_lr: float = setting(3e-4, "Adam step size of the critics", 1e-12)
    alpha_lr: float = setting(3e-4, "Adam step size of the temperature", 1e-12, idle=(_NO_ENTROPY,))
    initial_alpha: float = setting(1.0, "temperature at the start", 1e-12, idle=(_NO_ENTROPY,), in_checkpoint=True)
    target_entropy: float = setting(
        -1.0, "entropy that the temperature aims at, for each action dimension [nats]", idle=(_NO_ENTROPY,)
    )
    hidden: list[int] = setting(
        [256, 256], "widths of the hidden layers of policy and critics", 1, 2**16, in_checkpoint=True
    )
    adjoint_clip: float = setting(
        0.0,
        "norm, in medians of the batch, to which each state's gradient is clipped on its way back; 0: none",
        0.0,
        idle=(Idle("horizon=0 differentiates no dynamics", lambda v: not differentiates(v)),),
    )
    max_grad_norm: float = setting(100.0, "norm to which the policy gradient is clipped", 1e-12, resumes=True)

    @property
    def start_states(self) -> int:
        """Start states in an actor batch."""
        return self.actor_batch_size or self.batch_size


@dataclass(frozen=True)
class ModelSettings:
    """The probabilistic ensemble and how it is fitted."""

    members: int = setting(
        8,
        "members of the ensemble; with identified=, draws from the posterior, or the estimate alone: 1",
        1,
        1000,
        idle=(_NO_DYNAMICS, _NO_MEMBERS, _NO_DERIVATIVE),
        in_checkpoint=True,
    )
    model_hidden: list[int] = setting(
        [200, 200, 200, 200], "widths of the hidden layers of a member", 1, 2**16, idle=_FIT, in_checkpoint=True
    )
    model_lr: float = setting(1e-3, "Adam step size of the ensemble", 1e-12, idle=_FIT)
    model_batch_size: int = setting(256, "transitions in a batch, for each member", 1, MOST_ROWS, idle=_FIT)
    model_every: int = setting(1000, "environment steps between two fits", 1, 10**9, idle=_FIT)
    model_epochs: int = setting(200, "most epochs of one fit", 1, 10**6, idle=_FIT)
    model_steps: int = setting(
        0,
        "most gradient steps of one fit, on recent and old data mixed; 0: as many as model_epochs passes take",
        0,
        10**9,
        idle=_FIT,
    )
    model_recent: float = setting(
        0.5,
        "share of recent transitions in the batches of model_steps",
        0.0,
        1.0,
        idle=(*_FIT, Idle("model_steps=0 sets no bound", lambda v: v["model_steps"] == 0)),
    )
    model_patience: int = setting(
        5, "epochs without improvement on held-out data after which a fit stops", 1, 10**6, idle=_FIT
    )
    validation: float = setting(0.2, "share of the data held out", 0.01, 0.9, idle=_FIT)
    weight_decay: float = setting(
        0.0, "L2 penalty on the weights (not on biases and bounds of the variance)", 0.0, idle=_FIT
    )


@dataclass(frozen=True)
class DataSettings:
    """Real and imagined data."""

    random_steps: int = setting(5000, "environment steps of uniformly random actions at the start", 10, 10**9)
    reset_every: int = setting(0, "most environment steps of a training episode; 0: as many as the task's", 0, 10**9)
    fall_ends: bool = setting(False, "a fall is the end of a training episode; evaluations go on")
    fall_reward: float = setting(
        0.0,
        "reward of each step that would follow the fall, for ever: a fall is worth fall_reward / (1 - gamma)",
        idle=(Idle("fall_ends=false goes on after a fall", lambda v: not v["fall_ends"]),),
    )
    data: str = setting("mixed", "what critic and policy train on", choices=("mixed", "real"))
    real_ratio: float = setting(0.05, "share of real transitions in a mixed batch", 0.0, 1.0, idle=(_REAL_DATA,))
    imagined_states: int = setting(
        100_000, "imagined transitions made each time, all rollout steps together", 1, 10**9, idle=(_REAL_DATA,)
    )
    imagine_every: int = setting(250, "environment steps between two imaginations", 1, 10**9, idle=(_REAL_DATA,))
    imagined_keep: int = setting(4, "imaginations that the imagined replay keeps", 1, 10**6, idle=(_REAL_DATA,))
    rollout_length: list[int] = setting(
        [1, 1],
        "length of imagined rollouts at the start and at the end of the ramp",
        1,
        10**6,
        length=2,
        idle=(_REAL_DATA,),
    )
    n_step: int = setting(
        1,
        "most steps of an imagined rollout that a critic's target sums up before it asks the critic",
        1,
        10**6,
        idle=(_REAL_DATA, Idle("rollout_length={rollout_length}", lambda v: v["rollout_length"][-1] == 1)),
    )
    rollout_ramp: list[int] = setting(
        [20_000, 100_000],
        "environment steps between which the length grows",
        0,
        10**9,
        length=2,
        idle=(
            _REAL_DATA,
            Idle("rollout_length={rollout_length} does not grow", lambda v: len(set(v["rollout_length"])) == 1),
        ),
    )


@dataclass(frozen=True)
class ReportSettings:
    """Evaluation, logging, checkpoints."""

    epoch_steps: int = setting(1000, "environment steps between two evaluations, log rows and checkpoints", 1, 10**9)
    eval_episodes: int = setting(
        5, "episodes of an evaluation; fewer than five choose no best policy", 1, 10_000, incidental=True
    )
    final_episodes: int = setting(
        10, "episodes of the evaluation after training", 1, 10_000, resumes=True, incidental=True
    )
    log: list[str] = setting(
        ["csv", "tensorboard"],
        "where the numbers go, separated by commas; metrics.csv is always written",
        choices=LOGS,
        resumes=True,
        incidental=True,
    )
    log_model_error: bool = setting(
        False, "log eps_f, the error of the model's derivatives, every five epochs", idle=_MODEL
    )


@dataclass(frozen=True)
class PlanSettings:
    """The cross-entropy method; the defaults are those of the paper's authors."""

    candidates: int = setting(256, "action sequences in each iteration", 2, MOST_ROWS)
    elites: float = setting(0.1, "share of the candidates that the next ones are drawn around", 1e-6, 1.0)
    iterations: int = setting(5, "iterations", 1, 10_000)
    plan_horizon: int = setting(5, "actions in a sequence", 1, MOST_STEPS)


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
FIELDS: dict[str, dataclasses.Field[Any]] = {
    name: f for group in GROUPS.values() for name, f in fields_of(group).items()
}


def default_of(name: str) -> Any:
    """The default of setting `name` (a fresh copy where it is a list)."""
    return default_value(FIELDS[name])


def assemble(*layers: Mapping[str, Any]) -> Settings:
    """Settings from flat layers, later ones first in force, over the defaults. Raises as `convert` does."""
    flat = convert({name: value for layer in layers for name, value in layer.items()}, FIELDS)
    groups = {
        key: group(**{name: flat[name] for name in fields_of(group) if name in flat}) for key, group in GROUPS.items()
    }
    settings = Settings(**groups)
    _check_together(settings)
    return settings


def flatten(settings: Settings) -> dict[str, Any]:
    """Every setting by its flat name."""
    return {name: value for group in dataclasses.asdict(settings).values() for name, value in group.items()}


def to_yaml(settings: Settings) -> str:
    """The settings in their groups, as YAML that `read_file` reads back."""
    return yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True)


def _check_together(settings: Settings) -> None:
    """The conditions that bind two settings."""
    agent, data = settings.agent, settings.data
    if agent.actor_batch_size > agent.batch_size:
        raise SettingError(
            f"actor_batch_size={agent.actor_batch_size}: must be at most batch_size={agent.batch_size}, "
            "because the actor starts from states of the critic's batch."
        )
    for name, pair in (("rollout_length", data.rollout_length), ("rollout_ramp", data.rollout_ramp)):
        if pair[0] > pair[1]:
            raise SettingError(f"{name}={pair}: must be two numbers, the first not above the second.")
    if data.imagined_states < data.rollout_length[-1]:
        raise SettingError(
            f"imagined_states={data.imagined_states}: must be at least the longest rollout, {data.rollout_length[-1]}."
        )
    if agent.horizon == "auto" and not agent.auto_horizons:
        raise SettingError("auto_horizons=[]: horizon=auto needs at least one to choose, for example [0,1,2,4,8].")
    if agent.horizon == "auto" and agent.critics == 1:
        raise SettingError("critics=1: horizon=auto weighs how far critics disagree, and needs at least 2.")
