"""Tasks: what is to be controlled, and what for."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffmaac.env import AbstractTaskEnv, Reset, TaskEnv
from diffmaac.errors import TaskError
from diffmaac.foreign import ForeignEnv, GymnasiumSystem, Source, check_given, in_own_units
from diffmaac.settings import Presets, presets_for
from diffmaac.system import AbstractSystem
from diffmaac.types import Reward, TransitionReward

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Criterion:
    """What counts as solved: `score` of an episode's observations (time, obs) is above `threshold`."""

    name: str
    score: Callable[[Tensor], float]
    threshold: float


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be controlled, and what for.

    `reward(obs_t, action_t)` maps (*batch, obs) and (*batch, action) to (*batch); it is differentiable and belongs to
    the START state of a transition. A reward that depends on where the step leads is
    `transition_reward(obs_t, action_t, obs_tp1)` instead, and `reward` None. Where both are None the reward is the
    environment's and is learned with the dynamics. `terminated(obs_tp1)` maps (*batch, obs) to booleans (*batch); None:
    never, or, with `learns_end`, when the environment says so, which is learned as well.
    `fallen(obs)` maps (*batch, obs) to booleans (*batch): is the body down? It ends no episode of evaluation and has no
    part in the reward; None: there is no such thing.
    `presets` maps "paper", "quick" (and "quick/true", "quick/learned" for what changes with the dynamics) to flat
    settings; left out: those for tasks of this size (`presets_for`).

    Raises TaskError for a name, a system or a number of steps that cannot be one.
    """

    name: str
    system: AbstractSystem
    reward: Reward | None
    reset: Reset | None
    episode_steps: int = 1000
    terminated: Callable[[Tensor], Tensor] | None = None
    criterion: Criterion | None = None
    fallen: Callable[[Tensor], Tensor] | None = None
    reward_text: str = ""
    reference: str = ""
    presets: Presets = field(default_factory=dict)
    transition_reward: TransitionReward | None = None
    learns_end: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name):
            raise TaskError(f"a task's name is a text, such as 'cart', got {self.name!r}.")
        if not isinstance(self.system, AbstractSystem):
            raise TaskError(
                f"task '{self.name}': system is a {type(self.system).__name__}. Give a diffmaac.MujocoSystem, which"
                " MujocoSystem.from_xml makes of an MJCF, or another system."
            )
        if self.episode_steps < 1:
            raise TaskError(f"task '{self.name}': episode_steps={self.episode_steps}; an episode has 1 step or more.")
        if not self.presets:
            object.__setattr__(self, "presets", presets_for(self.obs_size, self.action_size))

    def __repr__(self) -> str:
        return f"Task({self.name!r}, obs_size={self.obs_size}, action_size={self.action_size})"

    @classmethod
    def from_gymnasium(
        cls,
        env: Source,
        reward: TransitionReward | None = None,
        terminated: Callable[[Tensor], Tensor] | Literal[False] | None = None,
        name: str = "",
    ) -> "Task":
        """A task from a Gymnasium id, an environment, or a function that makes one (Box observations and actions).

        Observations are flattened, actions in [-1, 1] scaled to the bounds, and an episode has the steps of the
        environment's TimeLimit (1,000 where it has none); what it cuts off counts as truncated, not as terminated.

        `reward(obs_t, action_t, obs_tp1)` is the environment's reward in torch, differentiable, (*batch) from
        (*batch, obs), (*batch, action) in the environment's OWN units, and (*batch, obs); None: it is learned with the
        dynamics. So is the probability of termination, unless `terminated(obs_tp1)` gives it, or False says that
        nothing terminates. `check` compares both with the environment. `name` is the id unless given.

        Raises TaskError where the environment cannot be made or used, or breaks Gymnasium's contract.
        """
        system = GymnasiumSystem.of(env)
        bounds = (system.spaces[1].low.astype(float), system.spaces[1].high.astype(float))
        return cls(
            name=name or system.name,
            system=system,
            reward=None,
            reset=None,
            episode_steps=system.episode_steps,
            terminated=terminated or None,
            reward_text="learned" if reward is None else "given in torch",
            reference="Gymnasium",
            transition_reward=None if reward is None else in_own_units(reward, *bounds),
            learns_end=terminated is None,
        )

    @property
    def learns_reward(self) -> bool:
        """Whether the reward is known from the environment alone."""
        return self.reward is None and self.transition_reward is None

    @property
    def start_reward(self) -> Reward:
        """`reward`. Raises TaskError where it is another's: of a transition, or the environment's."""
        if self.reward is None:
            raise TaskError(f"task '{self.name}' has no reward of state and action in torch. Give it reward=.")
        return self.reward

    def earned(self, obs_t: Tensor, action_t: Tensor, obs_tp1: Tensor) -> Tensor:
        """The reward of a step, (*batch), given in torch. Raises TaskError where it is the environment's."""
        if self.transition_reward is not None:
            return self.transition_reward(obs_t, action_t, obs_tp1)
        return self.start_reward(obs_t, action_t)

    @property
    def obs_size(self) -> int:
        """Numbers in an observation."""
        return self.system.obs_size

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return self.system.action_size

    @property
    def dt(self) -> float:
        """Seconds of one control step."""
        return self.system.dt

    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Physics state to observation; see `Coordinates.observe`."""
        return self.system.coordinates.observe(qpos, qvel)

    def physics_state(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Observation to physics state; see `Coordinates.physics_state`."""
        return self.system.coordinates.physics_state(obs)

    def discount(self, obs_tp1: Tensor, gamma: float) -> Tensor:
        """gamma, or 0 where the episode terminated: (*batch, obs) -> (*batch)."""
        discount_tp1 = obs_tp1.new_full(obs_tp1.shape[:-1], gamma)
        return discount_tp1 if self.terminated is None else discount_tp1.masked_fill(self.terminated(obs_tp1), 0.0)

    def make_env(self, render_mode: str | None = None) -> AbstractTaskEnv:
        """A Gymnasium environment of this task, stepped without gradients (MuJoCo's C engine or the closed form).

        ``render_mode="rgb_array"`` lets it draw itself; raises SettingError where that cannot be.
        """
        if isinstance(self.system, GymnasiumSystem):
            return ForeignEnv(self.system, self.episode_steps, render_mode)
        return TaskEnv(self, render_mode)

    def check_true(self) -> None:
        """Raises TaskError where nothing can be computed through true dynamics, naming all that is missing."""
        missing, hidden = list[str](), 0
        try:
            hidden = self.system.physics().coordinates.hidden
        except TaskError as error:
            missing.append(str(error).rstrip("."))
        if self.learns_reward:
            of_what = f", of what is observed: not of qpos[:{hidden}]" if hidden else ""
            missing.append(f"its reward is learned: give it in torch{of_what} (Task.from_gymnasium(..., reward=))")
        if self.learns_end:
            missing.append("its terminations are learned: give terminated=, or False where there are none")
        if missing:
            raise TaskError(f"env={self.name} has no true dynamics to go through: {'; '.join(missing)}.")

    def fingerprint(self) -> str:
        """A hash of what the task is made of: its motion, sizes, episode, and reward and termination at sixteen points.

        Start states have no part in it: a run can go on from others.
        """
        rng = np.random.default_rng(0)
        obs = torch.from_numpy(rng.normal(size=(16, self.obs_size)))
        action = torch.from_numpy(rng.uniform(-1, 1, (16, self.action_size)))
        with torch.no_grad():
            rewards = np.zeros(0) if self.learns_reward else self.earned(obs, action, obs.flip(0)).double().numpy()
            ended = self.discount(obs, 1.0).numpy()
        # Six digits: rewards may differ in the last ones from machine to machine.
        numbers = [f"{x:.5e}" for array in (*self.system.constants(), rewards, ended) for x in np.ravel(array)]
        words = [self.name, str(self.obs_size), str(self.action_size), str(self.episode_steps), *numbers]
        if isinstance(self.system, GymnasiumSystem):
            words += [self.system.spec, str(self.learns_end)]
        return hashlib.sha256(" ".join(words).encode()).hexdigest()

    def check(self) -> None:
        """Raises TaskError where start states, reward or `terminated` cannot be used, saying what came back.

        Warns in the log of a reward through which no gradient passes.
        """
        rng = np.random.default_rng(0)
        obs = self._starts(rng)
        action = torch.tensor(rng.uniform(-1, 1, (4, self.action_size)), dtype=torch.float32)
        # The environment asks for one reward, an update for a batch, STEVE for a batch of each member.
        for shape in ((), (4,), (2, 4)):
            tensors = {"obs": obs[0].expand(*shape, -1), "action": action[0].expand(*shape, -1)}
            if self.reward is not None:
                self._check_map("reward", self.reward, tensors)
            if self.transition_reward is not None:
                self._check_map("reward", self.transition_reward, {**tensors, "next obs": tensors["obs"]})
            if self.terminated is not None:
                self._check_map("terminated", self.terminated, {"obs": tensors["obs"]}, torch.bool)
            if self.fallen is not None:
                self._check_map("fallen", self.fallen, {"obs": tensors["obs"]}, torch.bool)
        if not self.learns_reward:
            reward = self.earned(obs, action, obs)
            if not torch.isfinite(reward).all():
                raise TaskError(f"task '{self.name}': the reward of a start state is not finite: {reward.tolist()}.")
            self._warn_without_gradient(obs, action)
        if isinstance(self.system, GymnasiumSystem):
            never = self.terminated is None and not self.learns_end
            env = self.make_env()
            check_given(self.name, env, self.transition_reward, self.terminated, never)
            env.close()

    def _starts(self, rng: np.random.Generator) -> Tensor:
        """Four observations at the start of an episode (4, obs). Raises TaskError where the task has no such."""
        if self.reward is not None and self.transition_reward is not None:
            raise TaskError(f"task '{self.name}' has both a reward and a transition_reward. Give one of the two.")
        if isinstance(self.system, GymnasiumSystem):
            env = self.make_env()
            starts = [env.reset(seed=seed)[0] for seed in range(4)]
            env.close()
            return torch.tensor(np.stack(starts), dtype=torch.float32)
        if self.reset is None or self.learns_reward:
            raise TaskError(f"task '{self.name}' needs start states (reset=) and a reward (reward=): give both.")
        nq, nv = self.system.coordinates.nq, self.system.coordinates.nv
        asked = f"task '{self.name}': reset(rng) must return qpos ({nq},) and qvel ({nv},)"
        try:
            states = [self.reset(rng) for _ in range(4)]
            shapes = [tuple(np.shape(part) for part in state) for state in states]
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise TaskError(f"{asked}, but fails: {error}") from error
        if wrong := [got for got in shapes if got != ((nq,), (nv,))]:
            raise TaskError(f"{asked}, got {' and '.join(map(str, wrong[0]))}.")
        qpos, qvel = (torch.tensor(np.stack(x), dtype=torch.float32) for x in zip(*states, strict=True))
        return self.observe(qpos, qvel)

    def _warn_without_gradient(self, obs: Tensor, action: Tensor) -> None:
        """A policy that climbs the reward's own gradient would learn nothing from it."""
        obs, action = (x.detach().clone().requires_grad_() for x in (obs, action))
        try:
            with torch.enable_grad():
                reward = self.earned(obs, action, obs)
        except (RuntimeError, TypeError) as error:
            raise TaskError(
                f"task '{self.name}': the reward cannot be differentiated: {error} Write it in torch, without NumPy."
            ) from error
        gradients = torch.autograd.grad(reward.sum(), (obs, action), allow_unused=True) if reward.requires_grad else ()
        if all(gradient is None for gradient in gradients):
            _LOGGER.warning(
                "task '%s': neither obs nor action gets a gradient from the reward, so that a policy's gradient through"
                " the dynamics sees nothing of it. Write it in torch, without .detach(), .item() and NumPy.",
                self.name,
            )

    def _check_map(
        self, name: str, function: Callable[..., Tensor], tensors: dict[str, Tensor], dtype: torch.dtype | None = None
    ) -> None:
        """Raises TaskError where `function` does not map (*batch, size) tensors to one of (*batch), and of `dtype`."""
        batch = tuple(tensors["obs"].shape[:-1])
        inputs = " and ".join(f"{kind} {tuple(x.shape)}" for kind, x in tensors.items())
        asked = f"task '{self.name}': {name} must map {inputs} to a tensor of shape {batch}"
        asked += f" and type {dtype}" if dtype else ""
        try:
            output = function(*tensors.values())
        except (IndexError, RuntimeError, TypeError) as error:
            raise TaskError(f"{asked}, but fails: {error}") from error
        right = isinstance(output, Tensor) and output.shape == batch and dtype in (None, output.dtype)
        if not right:
            if not isinstance(output, Tensor):
                kind = f"{type(output).__module__}.{type(output).__name__}".removeprefix("builtins.")
                raise TaskError(f"{asked}, got {kind}. Write it in torch, without NumPy and .item().")
            got = f"{tuple(output.shape)} of {output.dtype}"
            raise TaskError(f"{asked}, got {got}. Index with [..., i] and reduce over the last dimension.")
