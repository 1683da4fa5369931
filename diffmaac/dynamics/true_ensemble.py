"""Several true dynamics as the members of an ensemble."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.dynamics.base import AbstractDynamics, Noise, balanced_members
from diffmaac.errors import DivergenceError


class TrueEnsemble(AbstractDynamics):
    """Deterministic dynamics, of which one, drawn uniformly, moves each sample: physics whose parameters are uncertain.

    What the members disagree about is what the parameters' posterior leaves open, so that STEVE, `horizon=auto` and
    planning weigh it as they weigh the disagreement of a learned ensemble. The Gaussian noise is zero. Closed-form
    check: of linear systems A_m s + B_m a, each sample that of its member.

    Raises ValueError for no members, or one that is itself an ensemble or stochastic.
    """

    def __init__(self, members: Sequence[AbstractDynamics], obs_size: int):
        if not members or any(member.members > 1 or member.stochastic for member in members):
            raise ValueError(f"{len(members)} members; expected at least one, each deterministic and no ensemble.")
        self._members, self._obs_size = tuple(members), obs_size

    @property
    def members(self) -> int:
        return len(self._members)

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def recordable(self) -> bool:
        """Samples are sorted by their members on the host."""
        return False

    def sample_noise(self, batch: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Noise:
        """The member of each sample, in a balanced assignment as that of `LearnedDynamics`."""
        member = balanced_members(batch, self.members, generator)
        quiet = torch.zeros(batch, self._obs_size, dtype=dtype, device=generator.device)
        return Noise(member, quiet, -(-batch // self.members))

    def infer_noise(self, obs: Tensor, action: Tensor, obs_tp1: Tensor, generator: torch.Generator) -> Noise:
        return self.sample_noise(len(obs), generator, obs.dtype)

    def step(
        self, obs: Float[Tensor, "batch obs"], action: Float[Tensor, "batch action"], noise: Noise | None
    ) -> Float[Tensor, "batch obs"]:
        """Raises DivergenceError as a member's step does, with its number and the row among the samples it moves."""
        if noise is None:
            raise ValueError("each sample needs a member: pass the noise that sample_noise(batch, generator) draws.")
        rows = [(noise.member == m).nonzero()[:, 0] for m in range(self.members)]
        after = [self._step(m, obs[own], action[own]) for m, own in enumerate(rows) if len(own)]
        return torch.cat(after)[torch.argsort(torch.cat(rows))] if after else obs

    def step_members(self, obs: Tensor, action: Tensor, gaussian: Tensor | None) -> Tensor:
        return torch.stack([self._step(m, obs[m], action[m]) for m in range(self.members)])

    def _step(self, m: int, obs: Tensor, action: Tensor) -> Tensor:
        try:
            return self._members[m].step(obs, action, None)
        except DivergenceError as error:
            raise DivergenceError(f"member {m} of {self.members}: {error}") from error
