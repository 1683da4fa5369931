"""The critics: independent estimates of the soft Q-function."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffmaac.nn.mlp import BatchedMLP


class Critics(nn.Module):
    """`members` Q-functions as one batched network: (*batch, obs), (*batch, action) -> (members, *batch)."""

    def __init__(
        self, obs_size: int, action_size: int, hidden: Sequence[int], generator: torch.Generator, members: int = 2
    ):
        super().__init__()
        self.members = members
        self.net = BatchedMLP(members, [obs_size + action_size, *hidden, 1], F.relu, generator)

    def forward(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "members *batch"]:
        x = torch.cat([obs, action], -1)
        flat = x.reshape(1, -1, x.shape[-1]).expand(self.members, -1, -1)
        return self.net(flat).reshape(self.members, *x.shape[:-1])
