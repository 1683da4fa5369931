"""MuJoCo's constraint problem, its force law and an exact Newton solver for it.

The acceleration minimises the convex, piecewise quadratic cost (MuJoCo documentation, "Computation", "Primal problem")

    1/2 (a - a_smooth)' M (a - a_smooth) + s(J a - a_ref)

whose optimum is the root of `residual`. The minimum does not depend on the algorithm, so the model's own choice
(Newton, CG, PGS) is not consulted. Rows that may push only (limits, pyramidal contacts) are active where J a < a_ref;
equality rows always are; friction-loss rows are quadratic inside and linear outside the band |x| < f / D.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from diffmaac.physics._import import mjx
from diffmaac.physics.elimination import solve
from diffmaac.physics.typed import einsum, pad, repeat

MAX_ITERATIONS = 20
"""Newton iterations. The loop ends when the active set repeats; six were enough for 256 half_cheetah contact states
(the error against the C engine is 6e-13 for 6, 10, 15 and 30). The cap only bounds degenerate states."""

LINE_SEARCH_ITERATIONS = 6
"""Safeguarded Newton iterations on the derivative of the cost along the search direction: with 4, 6, 8 and 16 the error
on the same states is 6e-13. (MJX's own line search is a scan of `ls_iterations`, 50 by default.)"""

STEP_TOLERANCE = 1e-3
"""How far from 1 the last step length may be. Within one active set the cost is quadratic, and the length exactly 1."""


class Cones(NamedTuple):
    """The elliptic friction cones of the contacts that share one dimension d (3, 4 or 6 rows each)."""

    rows: Int[np.ndarray, "contacts d"]
    scale: Float[Array, "contacts d"]
    """Maps x to u, in which the cone is circular: the impedance-scaled mu, then the coefficients of friction."""
    stiffness: Float[Array, "contacts d"]


class ConstraintProblem(NamedTuple):
    """The terms of the constraint problem, of one state. SI units, generalised coordinates."""

    mass: Float[Array, "nv nv"]
    qfrc_smooth: Float[Array, " nv"]
    qacc_smooth: Float[Array, " nv"]
    jacobian: Float[Array, "nefc nv"]
    stiffness: Float[Array, " nefc"]
    reference: Float[Array, " nefc"]
    frictionloss: Float[Array, " nefc"]
    pushes_only: Bool[np.ndarray, " nefc"]
    cones: tuple[Cones, ...]


class ForceLaw(NamedTuple):
    """Force, curvature and cost of the constraint rows at some x = J a - a_ref."""

    force: Float[Array, " nefc"]
    """f(x) = -ds/dx."""
    curvature: Float[Array, " nefc"]
    """s''(x) of the rows that stand alone; zero for those of a cone."""
    blocks: tuple[Float[Array, "contacts d d"], ...]
    """d^2 s / dx^2 of the cones."""


def constraint_problem(model: mjx.Model, data: mjx.Data) -> ConstraintProblem:
    """Reads the problem from `data`, after `mjx.make_constraint` and the smooth acceleration.

    The constraint rows live in `Data._impl`: MJX 3.17 warns (DeprecationWarning) when they are read any other way.
    """
    rows = data._impl
    return ConstraintProblem(
        mass=mjx.full_m(model, data),
        qfrc_smooth=data.qfrc_smooth,
        qacc_smooth=data.qacc_smooth,
        jacobian=rows.efc_J,
        stiffness=rows.efc_D,
        reference=rows.efc_aref,
        frictionloss=rows.efc_frictionloss,
        pushes_only=np.arange(rows.efc_J.shape[0]) >= rows.ne + rows.nf,
        cones=tuple(_cones(model, rows)) if model.opt.cone == mjx.ConeType.ELLIPTIC else (),
    )


def _cones(model: mjx.Model, rows: mjx.DataJAX) -> Iterator[Cones]:
    contact = rows.contact
    for dim in sorted({int(dim) for dim in contact.dim if dim > 1}):
        (chosen,) = np.nonzero(contact.dim == dim)
        index = np.asarray(contact.efc_address)[chosen, None] + np.arange(dim)
        friction = contact.friction[chosen]
        mu = friction[:, :1] / jnp.sqrt(model.opt.impratio)
        scale = jnp.concatenate([mu, friction[:, : dim - 1]], axis=1)
        yield Cones(index, scale, rows.efc_D[index])


def force_law(problem: ConstraintProblem, x: Float[Array, " nefc"]) -> ForceLaw:
    """Forces and curvatures at x = J a - a_ref."""
    stiffness, limit = problem.stiffness, problem.frictionloss
    saturated = (limit > 0) & (jnp.abs(stiffness * x) >= limit)
    quadratic = jnp.where(problem.pushes_only, x < 0, ~saturated)
    force = jnp.where(quadratic, -stiffness * x, jnp.where(saturated, -jnp.sign(x) * limit, 0.0))
    curvature = jnp.where(quadratic, stiffness, 0.0)
    blocks: list[Array] = []
    for cones in problem.cones:
        cone_force, block = _cone_law(cones, x[cones.rows])
        force = force.at[cones.rows].set(cone_force)
        curvature = curvature.at[cones.rows].set(0.0)
        blocks.append(block)
    return ForceLaw(force, curvature, tuple(blocks))


def _cone_law(cones: Cones, x: Float[Array, "contacts d"]) -> tuple[Array, Array]:
    """Force and Hessian of elliptic cones. With u = scale * x, N = u_0, T = |u_1..| and mu = scale_0 the cost is

        0 where N >= mu T (free),   sum_j D_j x_j^2 / 2 where mu N + T <= 0 (sticking),
        D_0 / (mu^2 (1 + mu^2)) (N - mu T)^2 / 2 between (sliding),

    continuously differentiable across the borders (MuJoCo documentation, "Computation", "Elliptic cones").
    """
    u, mu = cones.scale * x, cones.scale[:, 0]
    normal, square = u[:, 0], (u[:, 1:] ** 2).sum(1)
    tangential = jnp.sqrt(jnp.where(square > 0, square, 1.0)) * (square > 0)
    free, sticking = normal >= mu * tangential, mu * normal + tangential <= 0
    sliding = ~free & ~sticking
    direction = u[:, 1:] / jnp.where(sliding, tangential, 1.0)[:, None]
    depth = normal - mu * tangential
    slope = jnp.concatenate([jnp.ones_like(mu)[:, None], -mu[:, None] * direction], axis=1)  # d depth / du
    # Coefficients of friction are positive: MuJoCo raises smaller ones to mjMINMU.
    strength = cones.stiffness[:, 0] / (mu**2 * (1 + mu**2))
    along = direction[:, :, None] * direction[:, None, :]
    bend = (jnp.eye(x.shape[1] - 1, dtype=x.dtype) - along) / jnp.where(sliding, tangential, 1.0)[:, None, None]
    bend = pad(-(mu * depth)[:, None, None] * bend, ((0, 0), (1, 0), (1, 0)))
    sliding_force = -(strength * depth)[:, None] * slope * cones.scale
    outer = slope[:, :, None] * slope[:, None, :] + bend
    sliding_block = strength[:, None, None] * outer * cones.scale[:, :, None] * cones.scale[:, None, :]
    sticking_block = cones.stiffness[:, :, None] * jnp.eye(x.shape[1], dtype=x.dtype)
    force = jnp.where(sliding[:, None], sliding_force, jnp.where(sticking[:, None], -cones.stiffness * x, 0.0))
    block = jnp.where(sliding[:, None, None], sliding_block, jnp.where(sticking[:, None, None], sticking_block, 0.0))
    return force, block


def residual(problem: ConstraintProblem, qacc: Float[Array, " nv"]) -> Float[Array, " nv"]:
    """M a - qfrc_smooth - J' f(J a - a_ref): zero at the solution."""
    force = force_law(problem, problem.jacobian @ qacc - problem.reference).force
    return problem.mass @ qacc - problem.qfrc_smooth - problem.jacobian.T @ force


def hessian(problem: ConstraintProblem, law: ForceLaw) -> Float[Array, "nv nv"]:
    """M + J' (d^2 s / dx^2) J, positive definite as M is and s is convex."""
    total = problem.mass + (problem.jacobian.T * law.curvature) @ problem.jacobian
    for cones, block in zip(problem.cones, law.blocks, strict=True):
        jacobian = problem.jacobian[cones.rows]
        total = total + einsum("cdv,cde,cew->vw", jacobian, block, jacobian)
    return total


def _cost(problem: ConstraintProblem, qacc: Float[Array, " nv"]) -> Float[Array, ""]:
    x = problem.jacobian @ qacc - problem.reference
    force, curvature, _ = force_law(problem, x)
    # Quadratic rows and cones cost -f x / 2. Saturated friction rows cost |f x| - f^2 / (2 D).
    saturated = (problem.frictionloss > 0) & (curvature == 0)
    rows = jnp.where(saturated, -force * x - 0.5 * force**2 / problem.stiffness, -0.5 * force * x)
    difference = qacc - problem.qacc_smooth
    return 0.5 * difference @ problem.mass @ difference + rows.sum()


def _line_search(problem: ConstraintProblem, x: Array, jacobian_p: Array, slope: Array, bend: Array) -> Array:
    """The minimum of the cost along a descent direction p; slope and bend are those of the inertial term.

    The derivative of the cost is increasing in the step length and, but for sliding cones, piecewise linear, so that
    Newton's iteration on it is exact once it is on the right piece; a bracket keeps it from going astray.
    """

    def body(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        length, low, high = carry
        law = force_law(problem, x + length * jacobian_p)
        first = slope + length * bend - law.force @ jacobian_p
        second = bend + (law.curvature * jacobian_p) @ jacobian_p
        for cones, block in zip(problem.cones, law.blocks, strict=True):
            p = jacobian_p[cones.rows]
            second = second + einsum("cd,cde,ce->", p, block, p)
        low, high = jnp.where(first < 0, length, low), jnp.where(first > 0, length, high)
        newton = length - first / second
        outside = (newton <= low) | (newton >= high)
        newton = jnp.where(outside & jnp.isfinite(high), 0.5 * (low + high), newton)
        return jnp.where(first == 0, length, newton), low, high

    start = (jnp.ones_like(slope), jnp.zeros_like(slope), jnp.full_like(slope, jnp.inf))
    return repeat(LINE_SEARCH_ITERATIONS, body, start)[0]


def minimise(problem: ConstraintProblem, warmstart: Float[Array, " nv"]) -> Float[Array, " nv"]:
    """The constrained acceleration, by Newton's method with exact line search; finite on piecewise quadratics.

    Starts from the cheaper of `warmstart` and the unconstrained acceleration, as MuJoCo does. Not differentiable in
    reverse mode (a `while_loop`): that is what the gradient classes are for.
    """

    def body(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        qacc, iteration, _ = carry
        qacc, converged = _newton_step(problem, qacc)
        return qacc, iteration + 1, converged

    unfinished = (_start(problem, warmstart), jnp.zeros((), jnp.int32), jnp.zeros((), bool))
    return jax.lax.while_loop(lambda carry: ~carry[2] & (carry[1] < MAX_ITERATIONS), body, unfinished)[0]


def minimise_unrolled(
    problem: ConstraintProblem, warmstart: Float[Array, " nv"], iterations: int
) -> Float[Array, " nv"]:
    """`iterations` of the same Newton steps, whatever they reach; differentiable in reverse mode."""

    def body(qacc: Array, _: None) -> tuple[Array, None]:
        return _newton_step(problem, qacc)[0], None

    return jax.lax.scan(body, _start(problem, warmstart), length=iterations)[0]


def _start(problem: ConstraintProblem, warmstart: Float[Array, " nv"]) -> Float[Array, " nv"]:
    return jnp.where(_cost(problem, warmstart) < _cost(problem, problem.qacc_smooth), warmstart, problem.qacc_smooth)


def _newton_step(problem: ConstraintProblem, qacc: Float[Array, " nv"]) -> tuple[Float[Array, " nv"], Bool[Array, ""]]:
    """One step with exact line search, and whether the next one would change nothing."""
    x = problem.jacobian @ qacc - problem.reference
    law = force_law(problem, x)
    inertial = problem.mass @ qacc - problem.qfrc_smooth
    gradient = inertial - problem.jacobian.T @ law.force
    direction = -solve(hessian(problem, law), gradient, symmetric=True)
    slope, bend = direction @ inertial, direction @ problem.mass @ direction
    length = _line_search(problem, x, problem.jacobian @ direction, slope, bend)
    qacc = qacc + length * direction
    after = force_law(problem, problem.jacobian @ qacc - problem.reference)
    # Rows without curvature are told apart by their force: nothing, or friction saturated on one side or the other.
    converged = jnp.all((after.curvature == law.curvature) & ((law.curvature > 0) | (after.force == law.force)))
    if problem.cones:
        # Sliding cones are not quadratic: there the step converges quadratically, and Newton's decrement says when
        # the next one would be lost in rounding.
        scale = 1.0 + qacc @ problem.mass @ qacc
        converged = -direction @ gradient < np.finfo(qacc.dtype).eps * scale
    return qacc, converged & (jnp.abs(length - 1) < STEP_TOLERANCE)
