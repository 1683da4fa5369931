"""The derivative of a fixed number of solver iterations, for comparison with the exact one."""

import dataclasses

import mujoco

from diffmaac.physics._import import mjx
from diffmaac.physics.gradient import AbstractGradient
from diffmaac.physics.signatures import ControlStep
from diffmaac.physics.solver import constraint_problem, minimise_unrolled
from diffmaac.physics.step import control_step


@dataclasses.dataclass(frozen=True)
class UnrolledGradient(AbstractGradient):
    """Differentiates `iterations` Newton steps of the constraint solver one by one, line search included.

    Reaches the C engine's step, and its derivative, where that many iterations converge (six do for the contact states
    of half_cheetah); fewer change the physics. Costs memory and time in proportion to `iterations`.

    Raises:
        ValueError: `iterations` is not positive.
    """

    iterations: int

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(
                f"UnrolledGradient got iterations={self.iterations}; at least 1 is needed. Six are a start."
            )

    @property
    def changes_physics(self) -> bool:
        return True

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        def solve(mjx_model: mjx.Model, data: mjx.Data) -> mjx.Data:
            problem = constraint_problem(mjx_model, data)
            qacc = minimise_unrolled(problem, data.qacc_warmstart, self.iterations)
            return data.replace(qacc=qacc, qfrc_constraint=problem.mass @ qacc - problem.qfrc_smooth)

        return control_step(model, frame_skip, solve)
