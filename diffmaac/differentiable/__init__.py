"""MuJoCo as a differentiable torch function, for people who want no reinforcement learning at all."""

from diffmaac.differentiable.closeness import Closeness as Closeness
from diffmaac.differentiable.closeness import ensure_close as ensure_close
from diffmaac.differentiable.step import DifferentiablePhysics as DifferentiablePhysics
from diffmaac.differentiable.step import compiled_model as compiled_model
