"""One step of the environment after the other, and what crosses over to the device."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from diffmaac import seeding
from diffmaac.algorithms import ActorCritic
from diffmaac.errors import TaskError
from diffmaac.settings import Settings
from diffmaac.task import Task
from diffmaac.training.carrier import Carrier
from diffmaac.training.graphed import AbstractRecorder, Graphed
from diffmaac.types import Transition


class Collector:
    """Acts in the environment: at random in the first `random_steps`, then as the policy of `agent` draws.

    Args:
        task: as it is trained on.
        generator: of the actions' noise.
        device: of the transitions. One crosses over a step, and one action comes back.
    """

    def __init__(
        self, task: Task, settings: Settings, agent: ActorCritic, generator: torch.Generator, device: torch.device
    ):
        self._task, self._settings, self._agent, self._generator, self._device = (
            task,
            settings,
            agent,
            generator,
            device,
        )
        episode_steps = min(task.episode_steps, settings.data.reset_every or task.episode_steps)
        self._env = dataclasses.replace(task, episode_steps=episode_steps).make_env()
        self._carrier = Carrier(2 + task.obs_size, device)
        self._obs = self._on_device(self._env.reset(seed=seeding.integer_seed(settings.run.seed, "environment"))[0])
        self.record(None)

    def record(self, recorder: AbstractRecorder | None) -> None:
        """Has the policy's actions recorded."""
        self._act = Graphed(self._acted, recorder)

    def forget(self) -> None:
        """Drops what was recorded."""
        self._act.forget()

    def state_dict(self) -> dict[str, Any]:
        """The environment's state, as a tree that `checkpoint.save` writes."""
        return self._env.snapshot()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._env.restore(state)
        self._obs = self._on_device(self._env.observation())

    def collect(self, step: int) -> Transition:
        """The transition of environment step `step`, as a batch of one.

        Raises TaskError where its reward is not finite.
        """
        obs = self._obs
        action, log_prob = self._explore(step, obs)
        obs_tp1, reward, terminated, truncated, _ = self._env.step(action[0].cpu().numpy())
        discount = 0.0 if terminated else self._settings.agent.gamma
        sent, host = self._carrier.send(reward, discount, obs_tp1), self._carrier.host
        if not torch.isfinite(host[0]):
            raise TaskError(f"the reward of task '{self._task.name}' is {reward} at environment step {step}.")
        reward_t, discount_tp1, next_obs = sent[:, 0], sent[:, 1], sent[:, 2:]
        self._obs = self._on_device(self._env.reset()[0]) if terminated or truncated else next_obs
        return Transition(obs, action, reward_t, discount_tp1, next_obs, log_prob)

    def _explore(self, step: int, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next action (1, action), and its log density (1)."""
        if step >= self._settings.data.random_steps:
            return self._act(None, obs)
        size = self._task.action_size
        uniform = 2 * torch.rand((1, size), generator=self._generator, device=self._device) - 1
        return uniform, obs.new_full((1,), -math.log(2.0) * size)

    @torch.no_grad()
    def _acted(self, setting: None, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An action of the policy (1, action), and its log density (1)."""
        noise = torch.randn((1, self._task.action_size), generator=self._generator, device=self._device)
        action, _ = self._agent.policy.sample(obs, noise)
        # At the action as it is stored: of one rounded onto the border SVG can infer no other noise later.
        return action, self._agent.policy.log_prob(obs, action)

    def _on_device(self, obs: np.ndarray) -> torch.Tensor:
        """An observation as a batch of one."""
        return torch.as_tensor(obs, dtype=torch.float32, device=self._device)[None]
