"""Networks."""

from diffmaac.nn.critic import Critics as Critics
from diffmaac.nn.mlp import MLP as MLP
from diffmaac.nn.mlp import BatchedMLP as BatchedMLP
from diffmaac.nn.optimizer import restore_optimizer as restore_optimizer
from diffmaac.nn.policy import AbstractPolicy as AbstractPolicy
from diffmaac.nn.policy import LinearGaussianPolicy as LinearGaussianPolicy
from diffmaac.nn.policy import SquashedGaussianPolicy as SquashedGaussianPolicy
from diffmaac.nn.policy import frozen as frozen
