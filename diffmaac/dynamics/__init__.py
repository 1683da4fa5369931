"""Dynamics: learned, true, closed form; peers behind one interface."""

from diffmaac.dynamics.base import AbstractDynamics as AbstractDynamics
from diffmaac.dynamics.base import Noise as Noise
from diffmaac.dynamics.base import Outcome as Outcome
from diffmaac.dynamics.ensemble import GaussianEnsemble as GaussianEnsemble
from diffmaac.dynamics.ensemble import Heads as Heads
from diffmaac.dynamics.learned import LearnedDynamics as LearnedDynamics
from diffmaac.dynamics.linear import LinearDynamics as LinearDynamics
from diffmaac.dynamics.mixed import MixedDynamics as MixedDynamics
from diffmaac.dynamics.true import identified_dynamics as identified_dynamics
from diffmaac.dynamics.true import true_dynamics as true_dynamics
from diffmaac.dynamics.true_ensemble import TrueEnsemble as TrueEnsemble
