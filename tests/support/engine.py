"""Models, states, and the C engine as the reference: its steps, and their central differences in float64."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import gymnasium
import jax
import mujoco
import mujoco.rollout
import numpy as np

from diffmaac.physics import batched_control_step, enable_compilation_cache, on_cpu
from diffmaac.physics.host import CPU_COMPILER_OPTIONS

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
MODELS = {
    "half_cheetah": ("half_cheetah.xml", 5),
    "hopper": ("hopper.xml", 4),
    "walker2d": ("walker2d_v5.xml", 4),
    "ant": ("ant.xml", 5),
}
STATES = 64
DIFFERENCE = 1e-6
THREADS = 2

PENDULUM = """
<mujoco><option timestep="0.01" integrator="{integrator}"/>
  <worldbody><body>
    <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
    <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1"/>
  </body></worldbody>
  <actuator><motor joint="hinge" gear="1"/></actuator>
</mujoco>"""

# A free and a ball joint, activations of two kinds, a joint limit, friction loss and an equality: all that the models
# of Gymnasium leave out. No contact.
ASSORTMENT = """
<mujoco><option timestep="0.005" integrator="{integrator}"/>
  <worldbody>
    <body name="box"><freejoint/><geom type="box" size="0.1 0.2 0.3" mass="1" contype="0" conaffinity="0"/></body>
    <body pos="1 0 0"><joint name="ball" type="ball" damping="0.1" stiffness="2"/>
      <geom type="box" size="0.1 0.1 0.3" pos="0 0 -0.3" mass="1" contype="0" conaffinity="0"/>
      <body pos="0 0 -0.6">
        <joint name="hinge" type="hinge" axis="0 1 0" frictionloss="0.2" limited="true" range="-20 20"/>
        <geom type="capsule" fromto="0 0 0 0.1 0 -0.5" size="0.03" mass="0.5" contype="0" conaffinity="0"/>
      </body>
    </body>
    <body pos="2 0 0"><joint name="a" type="slide" axis="1 0 0" damping="1"/>
      <geom size="0.1" contype="0" conaffinity="0"/></body>
    <body pos="3 0 0"><joint name="b" type="slide" axis="1 0 0"/>
      <geom size="0.1" contype="0" conaffinity="0"/></body>
  </worldbody>
  <equality><joint joint1="a" joint2="b" polycoef="0 1 0 0 0"/></equality>
  <actuator>
    <general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="2"/>
    <general joint="a" dyntype="integrator" actlimited="true" actrange="-1 1" gainprm="3"/>
    <motor joint="ball" gear="1 0.5 0"/>
  </actuator>
</mujoco>"""

# A box and a ball that tumble on a plane: free joints, corners, and every dimension of elliptic friction cones.
BOX_AND_BALL = """
<mujoco><option timestep="0.004" integrator="{integrator}" cone="elliptic" impratio="2" tolerance="0"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1" friction="0.8 0.01 0.001" contype="3" condim="{condim}"/>
    <body pos="0 0 0.3"><freejoint/><geom type="box" size="0.1 0.15 0.2" mass="1" condim="{condim}"/></body>
    <body pos="0.6 0 0.2"><freejoint/>
      <geom type="sphere" size="0.1" mass="0.5" contype="0" conaffinity="2" condim="{condim}"/></body>
  </worldbody>
</mujoco>"""


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, states and controls, the C engine's next states and the library's step with its pullback."""

    model: mujoco.MjModel
    frame_skip: int
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    cotangents: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray, ...]


def load(text: str, integrator: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(text.format(integrator=integrator))


def c_engine(model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The control step by `mujoco.rollout`, from a zero warm start as the library's."""
    qpos, qvel, act, ctrl = inputs
    start = np.concatenate([np.zeros((len(qpos), 1)), qpos, qvel, act], axis=1)
    data = [mujoco.MjData(model) for _ in range(THREADS)]
    controls = np.repeat(ctrl[:, None], frame_skip, axis=1)
    states, _ = mujoco.rollout.rollout(model, data, start, controls, initial_warmstart=np.zeros_like(qvel))
    after = np.asarray(states)[:, -1, 1:]
    return tuple(np.split(after, [model.nq, model.nq + model.nv], axis=1))


def contact_states(model: mujoco.MjModel, frame_skip: int, count: int) -> tuple[np.ndarray, ...]:
    """States in contact, met by the C engine under random controls, and controls to apply in them."""
    rng, data, states, step = np.random.default_rng(0), mujoco.MjData(model), [], 0
    while len(states) < count:
        if step % 100 == 0:
            mujoco.mj_resetData(model, data)
            data.qpos += rng.uniform(-0.05, 0.05, model.nq)
        data.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_step(model, data, nstep=frame_skip)
        mujoco.mj_forward(model, data)
        step += 1
        if step % 3 == 0 and data.ncon > 0:
            states.append((data.qpos.copy(), data.qvel.copy(), data.act.copy(), rng.uniform(-1, 1, model.nu)))
    qpos, qvel, act, ctrl = zip(*states, strict=True)
    return np.stack(qpos), np.stack(qvel), np.stack(act), np.stack(ctrl)


def thrown_states(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, ...]:
    """States in contact, met by the C engine after throws in random directions."""
    rng, data, states, step = np.random.default_rng(0), mujoco.MjData(model), [], 0
    while len(states) < count:
        if step % 120 == 0:
            mujoco.mj_resetData(model, data)
            mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 0.3)
            data.qvel[:] = 2 * rng.normal(size=model.nv)
        mujoco.mj_step(model, data)
        step += 1
        if step % 5 == 0 and data.ncon > 0:
            states.append((data.qpos.copy(), data.qvel.copy()))
    qpos, qvel = (np.stack(column) for column in zip(*states, strict=True))
    return qpos, qvel, np.zeros((count, 0)), np.zeros((count, 0))


def random_states(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (count, 1))
    for row in qpos:
        mujoco.mj_integratePos(model, row, rng.normal(size=model.nv), 0.7)
    shapes = (model.nv, model.na, model.nu)
    qvel, act, ctrl = (rng.uniform(-1, 1, (count, width)) for width in shapes)
    return qpos, qvel, act, ctrl


def fast_compiler_options() -> dict[str, bool | int]:
    """Compiling takes longer than running here. Pieces for several threads would cost more than they save."""
    fast = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}
    return {**CPU_COMPILER_OPTIONS, **fast} if on_cpu() else {}


def pull_back(step: Callable, inputs: tuple[np.ndarray, ...], cotangents: tuple[np.ndarray, ...]) -> tuple:
    """Value and vector-Jacobian product, compiled as one program, which is kept for the next time."""
    enable_compilation_cache()

    def both(inputs: tuple, cotangents: tuple) -> tuple:
        value, pullback = jax.vjp(step, *inputs)
        return value, pullback(cotangents)

    with jax.enable_x64(inputs[0].dtype == np.float64):
        return jax.tree.map(np.asarray, jax.jit(both, compiler_options=fast_compiler_options())(inputs, cotangents))


def make_case(model: mujoco.MjModel, frame_skip: int, inputs: tuple[np.ndarray, ...]) -> Case:
    rng = np.random.default_rng(1)
    cotangents = tuple(rng.normal(size=array.shape) for array in inputs[:3])
    outputs, gradients = pull_back(batched_control_step(model, frame_skip), inputs, cotangents)
    return Case(model, frame_skip, inputs, outputs, cotangents, gradients)


def check_step(case: Case, tolerance: float) -> None:
    """The library's next states are the C engine's."""
    for output, expected in zip(case.outputs, c_engine(case.model, case.frame_skip, case.inputs), strict=True):
        np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance)


def central_differences(case: Case, step: float) -> np.ndarray:
    """d<cotangent, next state>/d(inputs) by the C engine; one column an input coordinate."""
    flat = np.concatenate(case.inputs, axis=1)
    splits = np.cumsum([array.shape[1] for array in case.inputs])[:-1]
    columns = np.eye(flat.shape[1])
    perturbed = np.stack([flat[:, None] + step * columns, flat[:, None] - step * columns])
    batch = tuple(np.split(perturbed.reshape(-1, flat.shape[1]), splits, axis=1))
    after = np.concatenate(c_engine(case.model, case.frame_skip, batch), axis=1)
    after = after.reshape(*perturbed.shape[:3], -1)
    return np.einsum("bij,bj->bi", (after[0] - after[1]) / (2 * step), np.concatenate(case.cotangents, axis=1))


def relative_errors(case: Case, step: float = DIFFERENCE) -> np.ndarray:
    difference = central_differences(case, step)
    error = np.concatenate(case.gradients, axis=1) - difference
    return np.linalg.norm(error, axis=1) / np.linalg.norm(difference, axis=1)
