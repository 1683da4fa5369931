"""Are the physics and their gradient right? One control step of a model against MuJoCo's C engine.

The referee is the C engine in float64, its constraint solver run to convergence: the value is its next state, the
vector-Jacobian product its central differences. States within a difference step of a switch (a contact that opens, a
limit that is reached, a cone that begins to slide) have no derivative there, only two one-sided ones; they are told by
forward and backward differences that disagree, counted, and left out of the comparison.
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable

import mujoco
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffmaac.differentiable import DifferentiablePhysics
from diffmaac.errors import TaskError
from diffmaac.physics import AbstractGradient, CentralDifferences, Engine
from diffmaac.physics.cache import empty_compilation_cache, forget_programs
from diffmaac.physics.contact import BOX, CAPSULE, CYLINDER, PLANE, SPHERE
from diffmaac.physics.tangent import TangentSpace
from diffmaac.system import MujocoSystem

Controls = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(qpos, qvel) -> ctrl, of one state."""

DIFFERENCE = 1e-7
"""Step of the referee's differences. Rounding costs them about 1e-8 of the derivative. At 1e-6 the curvature of stiff
contacts passes for a kink: in 47 of 256 states of half_cheetah, in place of 2."""
KINK = 1e-3
"""Relative disagreement of forward and backward differences above which a state counts as sitting on a kink."""
SPACING, EPISODE, START_NOISE, SEARCH = 3, 100, 0.05, 20
"""Control steps between two states that are kept and between two starts; size of the noise at the start; and how many
times more states are looked at, at most, to find enough in contact."""
REPEATS = 5
"""Timed calls, of which the median counts."""
EXACT_PAIRS = {
    *((PLANE, other) for other in (SPHERE, CAPSULE, CYLINDER, BOX)),
    *((SPHERE, other) for other in (SPHERE, CAPSULE)),
    *((CAPSULE, other) for other in (CAPSULE, CYLINDER)),
}
"""Pairs of geom types whose contacts are the C engine's, here or in MJX."""


@dataclasses.dataclass(frozen=True)
class Allowed:
    """The errors up to which a gradient counts as right, relative but for the step's, which is absolute."""

    step: float
    median: float
    p99: float


ALLOWED = {"float64": Allowed(1e-9, 1e-6, 1e-3), "float32": Allowed(1e-1, 1e-3, 1e-1)}
"""In single precision a stiff contact amplifies the rounding of the state by some 1e5."""


@dataclasses.dataclass(frozen=True)
class States:
    """Inputs of the control step, batch first, in float64, and how many of them have an active constraint."""

    qpos: Float[np.ndarray, "batch nq"]
    qvel: Float[np.ndarray, "batch nv"]
    act: Float[np.ndarray, "batch na"]
    ctrl: Float[np.ndarray, "batch nu"]
    constrained: int

    @property
    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.qpos, self.qvel, self.act, self.ctrl


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """What was measured of one gradient of one model; errors as in `ALLOWED`, times in seconds and milliseconds."""

    gradient: str
    precision: str
    states: int
    constrained: int
    diverged: int
    step_median: float
    step_max: float
    steps_off: int
    kinks: int
    vjp_median: float
    vjp_p99: float
    vjp_max: float
    nan: int
    cold_s: float
    warm_s: float
    forward_ms: float
    both_ms: float

    @property
    def right(self) -> bool:
        allowed = ALLOWED[self.precision]
        exact = self.vjp_median <= allowed.median and self.vjp_p99 <= allowed.p99
        return exact and self.steps_off == 0 and self.nan == 0


def random_controls(model: mujoco.MjModel, rng: np.random.Generator) -> Controls:
    """Uniform over the control range of each actuator, in [-1, 1] where it has none."""
    limited = np.asarray(model.actuator_ctrllimited, bool)
    low, high = np.where(limited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    return lambda qpos, qvel: rng.uniform(low, high)


def policy_controls(act: Callable[[Tensor], np.ndarray], system: MujocoSystem) -> Controls:
    """The controls of a policy: obs -> action in [-1, 1], scaled to the actuators."""
    offset, factor = system.ctrl_scale

    def controls(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        obs = system.coordinates.observe(torch.as_tensor(qpos.copy()), torch.as_tensor(qvel.copy()))
        return offset + factor * act(obs)

    return controls


def visited_states(
    model: mujoco.MjModel,
    frame_skip: int,
    count: int,
    controls: Controls | None = None,
    seed: int = 0,
    episode: int = EPISODE,
) -> States:
    """`count` states that the C engine meets under `controls` (default: random ones), with controls to apply there.

    States with an active constraint (a contact, a limit) come first; where too few turn up, others fill the rest.

    Raises TaskError where the model has nothing that moves, or no state is finite.
    """
    if model.nv == 0:
        raise TaskError("the model has no joint: there is no motion to differentiate.")
    rng, data = np.random.default_rng(seed), mujoco.MjData(model)
    controls = controls or random_controls(model, rng)
    constrained: list[tuple[np.ndarray, ...]] = []
    free: list[tuple[np.ndarray, ...]] = []
    for step in range(SPACING * SEARCH * count):
        if step % episode == 0:
            mujoco.mj_resetData(model, data)
            mujoco.mj_integratePos(model, data.qpos, rng.uniform(-START_NOISE, START_NOISE, model.nv), 1.0)
        data.ctrl[:] = controls(data.qpos, data.qvel)
        mujoco.mj_step(model, data, nstep=frame_skip)
        if step % SPACING:
            continue
        mujoco.mj_forward(model, data)
        ctrl = controls(data.qpos, data.qvel)
        if not np.isfinite(data.qvel).all():
            continue
        (constrained if data.nefc > 0 else free).append((data.qpos.copy(), data.qvel.copy(), data.act.copy(), ctrl))
        if len(constrained) == count:
            break
    if not constrained and not free:
        raise TaskError("the model diverges at once: no state that the C engine meets is finite.")
    columns = zip(*(constrained + free)[:count], strict=True)
    return States(*(np.stack(column) for column in columns), constrained=len(constrained))


def check_gradient(
    model: mujoco.MjModel,
    frame_skip: int,
    states: States,
    gradient: str | AbstractGradient = "implicit",
    precision: str = "float64",
    seed: int = 0,
) -> GradientCheck:
    """Compares one control step, and its vector-Jacobian product with random cotangents, with the referee.

    Raises:
        ValueError: the model has something that the gradient cannot do.
        TaskError: every state diverges, so that there is nothing to compare.
    """
    rng = np.random.default_rng(seed)
    dtype = np.dtype(precision)
    rounded = tuple(x.astype(dtype) for x in states.inputs)
    after = np.concatenate(Engine(model, frame_skip).step(*rounded), axis=1)
    alive = np.all(np.isfinite(after), axis=1)
    if not alive.any():
        raise TaskError(f"each of the {len(alive)} states diverges within a control step of the C engine.")
    inputs, after = tuple(x[alive] for x in rounded), after[alive]
    cotangents = tuple(rng.normal(size=x.shape).astype(dtype) for x in inputs[:3])
    with empty_compilation_cache():
        physics, cold = _first_call(model, frame_skip, gradient, inputs, cotangents)
        physics, warm = _first_call(model, frame_skip, gradient, inputs, cotangents)
        values, gradients, forward_ms, both_ms = _measure(physics, inputs, cotangents)
    step_errors = np.abs(np.concatenate(values, axis=1) - after).max(1)
    exact = tuple(x.astype(np.float64) for x in inputs)
    central, kink = differences(model, frame_skip, exact, cotangents)
    ours = np.concatenate([TangentSpace(model).project(exact[0], gradients[0]), *gradients[1:]], axis=1)
    finite = np.isfinite(ours).all(1)
    smooth = ~kink & finite
    size = np.maximum(np.linalg.norm(central, axis=1), np.finfo(np.float64).tiny)
    errors: np.ndarray = (np.linalg.norm(ours - central, axis=1) / size)[smooth]
    median, p99, worst = np.quantile(errors, [0.5, 0.99, 1.0]) if smooth.any() else (np.nan,) * 3
    return GradientCheck(
        gradient=str(physics.gradient),
        precision=precision,
        states=len(states.qpos),
        constrained=states.constrained,
        diverged=int((~alive).sum()),
        step_median=float(np.median(step_errors)),
        step_max=float(step_errors.max()),
        steps_off=int((step_errors > ALLOWED[precision].step).sum()),
        kinks=int(kink.sum()),
        vjp_median=float(median),
        vjp_p99=float(p99),
        vjp_max=float(worst),
        nan=int((~finite).sum()),
        cold_s=cold,
        warm_s=warm,
        forward_ms=forward_ms,
        both_ms=both_ms,
    )


def differences(
    model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]
) -> tuple[Float[np.ndarray, "batch directions"], np.ndarray]:
    """The referee's vector-Jacobian product, in the tangent space of positions, and which states sit on a kink."""
    engine = CentralDifferences(model, frame_skip, DIFFERENCE, threads=os.cpu_count() or 1)
    above, below = engine.displaced(inputs)
    here = np.concatenate(engine.step(*inputs), axis=1)[:, None]
    weights = np.concatenate(cotangents, axis=1, dtype=np.float64)
    forward, backward = (
        np.einsum("bdj,bj->bd", difference / DIFFERENCE, weights) for difference in (above - here, here - below)
    )
    central = (forward + backward) / 2
    kink = np.linalg.norm(forward - backward, axis=1) > KINK * np.linalg.norm(central, axis=1)
    return central, kink


def shortfall(model: mujoco.MjModel, frame_skip: int, states: States) -> float:
    """How far the C engine at the model's own solver settings stops from the optimum, at most, in qpos and qvel."""
    data, converged = mujoco.MjData(model), Engine(model, frame_skip).step(*states.inputs)
    worst = 0.0
    for row in range(len(states.qpos)):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = (x[row] for x in states.inputs)
        mujoco.mj_step(model, data, nstep=frame_skip)
        errors = [np.abs(a - b[row]).max(initial=0) for a, b in zip((data.qpos, data.qvel), converged, strict=False)]
        worst = max(worst, *errors)
    return worst


def advice(model: mujoco.MjModel, frame_skip: int, states: States, through_mjx: bool = True) -> list[str]:
    """What to know about `model` when reading its check, in sentences; of MJX where a gradient goes through it."""
    lines = []
    gap = shortfall(model, frame_skip, states)
    if gap > ALLOWED["float64"].step:
        solver = mujoco.mjtSolver(model.opt.solver).name.removeprefix("mjSOL_")
        lines.append(
            f"At the model's own solver settings ({solver}, tolerance {model.opt.tolerance:g}, {model.opt.iterations}"
            f" iterations) the C engine stops up to {gap:.1e} short of its constraint problem's optimum; the errors"
            " here are against the optimum."
        )
    if through_mjx and (pairs := approximate_pairs(model)):
        lines.append(
            f"MJX finds contacts between {', '.join(pairs)} by another algorithm than the C engine: where they touch,"
            " both the step and its gradient are approximate. Spheres, capsules, and boxes on planes are exact."
        )
    return lines


def approximate_pairs(model: mujoco.MjModel) -> list[str]:
    """The pairs of geom types that can touch in `model` and whose contacts MJX finds otherwise than the C engine."""
    kinds = [mujoco.mjtGeom(kind).name.removeprefix("mjGEOM_").lower() for kind in range(mujoco.mjtGeom.mjNGEOMTYPES)]
    pairs: set[str] = set()
    for one in range(model.ngeom):
        for other in range(one):
            bodies = model.geom_bodyid[[one, other]]
            masks = (model.geom_contype[one] & model.geom_conaffinity[other]) | (
                model.geom_contype[other] & model.geom_conaffinity[one]
            )
            if masks and len(set(model.body_weldid[bodies])) == 2:
                pair = tuple(sorted((int(model.geom_type[one]), int(model.geom_type[other]))))
                if pair not in EXACT_PAIRS:
                    pairs.add(" and ".join(kinds[kind] for kind in pair))
    return sorted(pairs)


def _first_call(
    model: mujoco.MjModel,
    frame_skip: int,
    gradient: str | AbstractGradient,
    inputs: tuple[np.ndarray, ...],
    cotangents: tuple[np.ndarray, ...],
) -> tuple[DifferentiablePhysics, float]:
    """The physics, and the seconds until its first gradient."""
    forget_programs()
    start = time.perf_counter()
    physics = DifferentiablePhysics(model, frame_skip, gradient)
    _pull_back(physics, inputs, cotangents)
    return physics, time.perf_counter() - start


def _pull_back(
    physics: DifferentiablePhysics, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    tensors = [torch.from_numpy(x).requires_grad_() for x in inputs]
    qpos, qvel, act, ctrl = tensors
    outputs = physics(qpos, qvel, ctrl, act)
    gradients = torch.autograd.grad(outputs, tensors, [torch.from_numpy(x) for x in cotangents])
    return tuple(x.detach() for x in outputs), gradients


def _measure(
    physics: DifferentiablePhysics, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]
) -> tuple[list[np.ndarray], list[np.ndarray], float, float]:
    """Values, gradients (both in float64), and the median milliseconds of a step without and with its gradient."""
    forward, both = [], []
    results: tuple[tuple[Tensor, ...], ...] = ()
    qpos, qvel, act, ctrl = map(torch.from_numpy, inputs)
    for _ in range(REPEATS):
        start = time.perf_counter()
        physics(qpos, qvel, ctrl, act)
        middle = time.perf_counter()
        results = _pull_back(physics, inputs, cotangents)
        forward.append(middle - start)
        both.append(time.perf_counter() - middle)
    values, gradients = ([x.double().numpy() for x in tensors] for tensors in results)
    return values, gradients, 1e3 * statistics.median(forward), 1e3 * statistics.median(both)
