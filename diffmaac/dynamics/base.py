"""The interface of dynamics: transitions, whoever computes them. Reward belongs to the task.

Where the task cannot say what a step earns, or when an episode ends, an ensemble learns it with the motion, and hands
it out with the next state: see `Outcome`.
"""

import abc
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Noise(NamedTuple):
    """What a stochastic transition draws: which member moves each sample, and its Gaussian noise."""

    member: Int[Tensor, " batch"]
    gaussian: Float[Tensor, "batch obs"]
    most: int | None = None
    """How many samples a member moves at most. None: they are counted, which waits for the device."""


def balanced_members(batch: int, members: int, generator: torch.Generator) -> Int[Tensor, " batch"]:
    """A random balanced assignment of samples to members: each sample's is uniform, and no member idles.

    It begins at a random member, so that a batch of fewer samples, or one more, favours none.
    """
    device = generator.device
    first = torch.randint(members, (), generator=generator, device=device)
    return (torch.randperm(batch, generator=generator, device=device) + first) % members


class Outcome(NamedTuple):
    """What a step of dynamics brings. None stands for what these dynamics did not learn: then the task has it."""

    obs_tp1: Float[Tensor, "*batch obs"]
    reward_t: Float[Tensor, "*batch"] | None = None
    """The mean of the learned reward: a return is linear in it, so that its noise would add variance and no more."""
    continues_tp1: Float[Tensor, "*batch"] | None = None
    """The learned probability that the episode goes on after the step."""


class AbstractDynamics(abc.ABC):
    """``s_tp1 = f(s_t, a_t, noise)``.

    Pure, batch first, differentiable in obs and action. Whether a gradient is wanted is the caller's business: nothing
    here turns gradients off. dtype and device follow the input.
    """

    @property
    @abc.abstractmethod
    def members(self) -> int:
        """1 for true dynamics, M for an ensemble."""

    @property
    def noise_members(self) -> int:
        """Among how many members `Noise.member` chooses: those that differ in value or derivative."""
        return self.members

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether a transition draws noise."""

    @property
    def recordable(self) -> bool:
        """Whether a transition is made by torch on the device alone, so that a CUDA graph can record it."""
        return True

    @abc.abstractmethod
    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Noise | None:
        """Noise for one `step` of a batch; None where the transition is deterministic.

        It is drawn in float32 and then converted, so that every `dtype` gets the same numbers.
        """

    @abc.abstractmethod
    def infer_noise(
        self,
        obs: Float[Tensor, "batch obs"],
        action: Float[Tensor, "batch action"],
        obs_tp1: Float[Tensor, "batch obs"],
        generator: torch.Generator,
    ) -> Noise | None:
        """The noise with which `step` gives `obs_tp1`, its member drawn as in `sample_noise` (None: deterministic)."""

    @abc.abstractmethod
    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Float[Tensor, "batch obs"]:
        """The next observation of each sample."""

    @abc.abstractmethod
    def step_members(
        self,
        obs: Float[Tensor, "members batch obs"],
        action: Float[Tensor, "members batch action"],
        gaussian: Float[Tensor, "members batch obs"] | None,
    ) -> Float[Tensor, "members batch obs"]:
        """The next observation, each member moving its own batch (STEVE). `gaussian=None` leaves the noise away."""

    def outcome(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Outcome:
        """`step`, with what was learned beside it."""
        return Outcome(self.step(obs, action, noise))

    def outcome_members(
        self,
        obs: Float[Tensor, "members batch obs"],
        action: Float[Tensor, "members batch action"],
        gaussian: Float[Tensor, "members batch obs"] | None,
    ) -> Outcome:
        """`step_members`, with what was learned beside it."""
        return Outcome(self.step_members(obs, action, gaussian))
