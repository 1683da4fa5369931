"""The exact derivative of the constraint solver, by the implicit function theorem."""

import dataclasses

import mujoco
from jax import lax

from diffmaac.physics._import import mjx
from diffmaac.physics.elimination import solve
from diffmaac.physics.gradient import AbstractGradient
from diffmaac.physics.integrator import SOLUTION
from diffmaac.physics.signatures import ControlStep
from diffmaac.physics.solver import constraint_problem, force_law, hessian, minimise, residual
from diffmaac.physics.step import control_step
from diffmaac.physics.typed import named


@dataclasses.dataclass(frozen=True)
class ImplicitGradient(AbstractGradient):
    r"""Solves the constraint problem without gradients and differentiates its optimum, not the way to it.

    The constrained acceleration a*(theta) is the root of

        r(theta, a) = M a - qfrc_smooth - J' f(J a - a_ref),        H = dr/da = M + J' s'' J,

    where f = -s' is the force law of the rows and cones, and M, J, f, a_ref and qfrc_smooth depend on
    theta = (qpos, qvel, act, ctrl). By the implicit function theorem

        da*/dtheta = -H^{-1} dr/dtheta   at a = a*.

    One Newton step from the solution, a* - H^{-1} (r(theta, a*) - value of r), with a* and H held constant, has the
    value a* and exactly this derivative, in forward and reverse mode, whatever the solver and its iterations.

    Regularity: H is positive definite since M is; r must be differentiable at (theta, a*), which fails only where a
    row is exactly on the border of its active set (J a = a_ref) or a contact exactly at its margin, a set of measure
    zero. There the result is the derivative of one of the adjoining pieces.

    Source: Krantz and Parks, "The Implicit Function Theorem" (2002); Blondel et al., "Efficient and Modular Implicit
    Differentiation" (NeurIPS 2022), section 2.1.
    """

    def control_step(self, model: mujoco.MjModel, frame_skip: int) -> ControlStep:
        return control_step(model, frame_skip, _solve)


def _solve(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    problem = constraint_problem(model, data)
    fixed = lax.stop_gradient(problem)
    solution = named(minimise(fixed, lax.stop_gradient(data.qacc_warmstart)), SOLUTION)
    law = force_law(fixed, fixed.jacobian @ solution - fixed.reference)
    change = residual(problem, solution)
    qacc = solution - solve(hessian(fixed, law), change - lax.stop_gradient(change), symmetric=True)
    # At the root the constraint force is what the smooth forces leave over: no second derivative of the force law.
    return data.replace(qacc=qacc, qfrc_constraint=problem.mass @ qacc - problem.qfrc_smooth)
