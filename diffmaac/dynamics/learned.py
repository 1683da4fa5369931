"""Learned dynamics: the ensemble behind the `AbstractDynamics` interface."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise, Outcome, balanced_members
from diffmaac.dynamics.ensemble import GaussianEnsemble
from diffmaac.typed import assert_on_device


class LearnedDynamics(AbstractDynamics):
    """A probabilistic ensemble. Each sample is moved by a member drawn uniformly, as in MAAC: U ~ Uniform{1..M}."""

    def __init__(self, network: GaussianEnsemble):
        self.network = network

    @property
    def members(self) -> int:
        return self.network.members

    @property
    def stochastic(self) -> bool:
        return True

    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Noise:
        """Members by `balanced_members`."""
        member = balanced_members(batch, self.members, generator)
        gaussian = torch.randn(batch, self.network.obs_size, generator=generator, device=generator.device)
        return Noise(member, gaussian.to(dtype), -(-batch // self.members))

    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Float[Tensor, "batch obs"]:
        return self.outcome(obs, action, noise).obs_tp1

    def outcome(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Outcome:
        if noise is None:
            raise ValueError(
                "learned dynamics are stochastic: pass the noise that sample_noise(batch, generator) draws."
            )
        gather, scatter = _group(noise.member, self.members, noise.most)
        x = torch.cat([obs, action], -1)[gather]
        change, reward, continues = self.network.predict(x, noise.gaussian[gather])
        learned = (None if column is None else column.flatten(0, 1)[scatter] for column in (reward, continues))
        return Outcome(obs + change.flatten(0, 1)[scatter], *learned)

    def infer_noise(
        self,
        obs: Float[Tensor, "batch obs"],
        action: Float[Tensor, "batch action"],
        obs_tp1: Float[Tensor, "batch obs"],
        generator: torch.Generator,
    ) -> Noise:
        drawn = self.sample_noise(len(obs), generator)
        gather, scatter = _group(drawn.member, self.members, drawn.most)
        gaussian = self.network.noise(torch.cat([obs, action], -1)[gather], (obs_tp1 - obs)[gather])
        return drawn._replace(gaussian=gaussian.flatten(0, 1)[scatter])

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Tensor:
        return self.outcome_members(obs, action, gaussian).obs_tp1

    def outcome_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Outcome:
        change, reward, continues = self.network.predict(torch.cat([obs, action], -1), gaussian)
        return Outcome(obs + change, reward, continues)


def _group(member: Int[Tensor, " batch"], members: int, most: int | None) -> tuple[Tensor, Tensor]:
    """Indices that sort samples into equal rows, one for each member, and back.

    A row has `most` places, or as many as the fullest member needs. Raises RuntimeError where a member has more samples
    than that (see `assert_on_device`).

    Returns gather (members, capacity), which sample stands at each place (places to spare repeat sample 0), and
    scatter (batch), each sample's place in the flattened rows.
    """
    batch = member.shape[0]
    order = torch.argsort(member, stable=True)
    sorted_member = member[order]
    first = torch.searchsorted(sorted_member, torch.arange(members, device=member.device))
    capacity = int(torch.bincount(member).max()) if most is None else most
    within = torch.arange(batch, device=member.device) - first[sorted_member]
    if most is not None:
        advice = "Noise whose members are changed has most=None."
        assert_on_device((within < most).all(), f"a member moves more samples than most={most} of the noise. {advice}")
    place = sorted_member * capacity + within
    gather = torch.zeros(members * capacity, dtype=torch.long, device=member.device)
    gather[place] = order
    scatter = torch.empty_like(order)
    scatter[order] = place
    return gather.view(members, capacity), scatter
