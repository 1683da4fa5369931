"""The critics: independent estimates of the soft Q-function."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffmaac.nn.mlp import MLP


class Critics(nn.Module):
    """`members` Q-functions: (*batch, obs), (*batch, action) -> (members, *batch).

    Networks of their own rather than one batched network: for two members that is 10 to 15 % faster on a CPU.
    """

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        members: int = 2,
        layer_norm: bool = False,
    ):
        super().__init__()
        sizes = [obs_size + action_size, *hidden, 1]
        self.nets = nn.ModuleList(MLP(sizes, torch.relu_, generator, layer_norm) for _ in range(members))

    def forward(
        self, obs: Float[Tensor, "*batch obs"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "members *batch"]:
        x = torch.cat([obs, action], -1)
        return torch.stack([net(x).squeeze(-1) for net in self.nets])
