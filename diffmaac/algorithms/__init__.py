"""Algorithms: compositions of objectives, networks and dynamics."""

from diffmaac.algorithms.actor_critic import ActorCritic as ActorCritic
from diffmaac.algorithms.actor_critic import Metrics as Metrics
from diffmaac.algorithms.horizon import gradient_spread as gradient_spread
