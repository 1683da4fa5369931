"""Learned dynamics: the ensemble behind the `AbstractDynamics` interface."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise, Outcome
from diffmaac.dynamics.ensemble import GaussianEnsemble


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
        """Members are drawn as a random balanced assignment: each sample's is uniform, and no member idles.

        The assignment begins at a random member, so that a batch of fewer samples, or one more, favours none.
        """
        device = generator.device
        first = torch.randint(self.members, (), generator=generator, device=device)
        member = (torch.randperm(batch, generator=generator, device=device) + first) % self.members
        gaussian = torch.randn(batch, self.network.obs_size, generator=generator, device=device)
        return Noise(member, gaussian.to(dtype))

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
        gather, scatter = _group(noise.member, self.members)
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
        member = self.sample_noise(len(obs), generator).member
        gather, scatter = _group(member, self.members)
        gaussian = self.network.noise(torch.cat([obs, action], -1)[gather], (obs_tp1 - obs)[gather])
        return Noise(member, gaussian.flatten(0, 1)[scatter])

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Tensor:
        return self.outcome_members(obs, action, gaussian).obs_tp1

    def outcome_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Outcome:
        change, reward, continues = self.network.predict(torch.cat([obs, action], -1), gaussian)
        return Outcome(obs + change, reward, continues)


def _group(member: Int[Tensor, " batch"], members: int) -> tuple[Tensor, Tensor]:
    """Indices that sort samples into equal rows, one for each member, and back.

    Returns gather (members, capacity), which sample stands at each place (places to spare repeat sample 0), and
    scatter (batch), each sample's place in the flattened rows.
    """
    batch = member.shape[0]
    order = torch.argsort(member, stable=True)
    counts = torch.bincount(member, minlength=members)
    capacity = int(counts.max())
    first = torch.cumsum(counts, 0) - counts
    sorted_member = member[order]
    place = sorted_member * capacity + torch.arange(batch, device=member.device) - first[sorted_member]
    gather = torch.zeros(members * capacity, dtype=torch.long, device=member.device)
    gather[place] = order
    scatter = torch.empty_like(order)
    scatter[order] = place
    return gather.view(members, capacity), scatter
