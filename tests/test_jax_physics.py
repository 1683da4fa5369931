"""The step in JAX is the one in torch: values, gradients, batches, rollouts; and it needs no torch."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from support.engine import ASSORTMENT, load, random_states

from diffmaac import DifferentiablePhysics, DiffmaacError
from diffmaac.physics import EngineGradient, FiniteDifference, JaxPhysics

ROD = """
<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" axis="0 1 0"/>
  <inertial pos="0 0 -0.5" mass="2" diaginertia="0.1 0.1 0.1"/><site name="tip" pos="0 0 -1"/></body></worldbody>
  <actuator><motor joint="j" gear="3"/></actuator></mujoco>"""
OUTPUTS = ("qpos", "qvel", "act", "xpos", "qacc")


def rows() -> tuple[np.ndarray, ...]:
    """Of a model with everything but contacts: qpos, qvel, act, ctrl, and forces on the bodies."""
    model = load(ASSORTMENT, "Euler")
    force = 0.1 * np.random.default_rng(1).normal(size=(3, model.nbody, 6))
    return (*random_states(model, 3), force)


@pytest.mark.parametrize("gradient", ["engine", "finite_difference"])
def test_it_is_the_step_of_torch(gradient: str) -> None:
    """With parameters, forces, activations and outputs, in a batch by vmap and compiled."""
    model, arrays = load(ASSORTMENT, "Euler"), rows()
    own = DifferentiablePhysics(model, 2, gradient, parameters=("body_mass",), outputs=OUTPUTS)
    mass = own.parameters["body_mass"].requires_grad_()
    qpos, qvel, act, ctrl, force = leaves = [torch.from_numpy(x).requires_grad_() for x in arrays]
    expected = own(qpos, qvel, ctrl, act, parameters={"body_mass": mass}, xfrc_applied=force)
    theirs = torch.autograd.grad(torch.cat([x.sin().flatten() for x in expected]).sum(), [*leaves, mass])
    with jax.enable_x64(True):
        step = JaxPhysics(
            model,
            2,
            EngineGradient() if gradient == "engine" else FiniteDifference(),
            parameters=("body_mass",),
            inputs=("xfrc_applied",),
            outputs=OUTPUTS,
        )

        def of_one(qpos, qvel, act, ctrl, force, mass):
            return step(qpos, qvel, ctrl, act, parameters={"body_mass": mass}, xfrc_applied=force)

        def total(*inputs):
            after = jax.vmap(of_one, in_axes=(0, 0, 0, 0, 0, None))(*inputs)
            return sum(jnp.sin(x).sum() for x in after), after

        given = (*map(jnp.asarray, arrays), jnp.asarray(mass.detach().numpy()))
        ours, after = jax.jit(jax.grad(total, argnums=tuple(range(6)), has_aux=True))(*given)
    assert after._fields == OUTPUTS
    for one, other in zip(after, expected, strict=True):
        np.testing.assert_array_equal(one, other.detach().numpy())
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-9, atol=1e-11)


def test_a_rollout_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    q, v, u = rng.normal(size=(4, 1)), rng.normal(size=(4, 1)), rng.normal(size=(4, 5, 1))
    ctrl = torch.from_numpy(u).requires_grad_()
    tip = DifferentiablePhysics(ROD, outputs=("site_xpos",), gradient="engine")
    expected = tip.rollout(torch.from_numpy(q), torch.from_numpy(v), ctrl).site_xpos
    (theirs,) = torch.autograd.grad(expected.sin().sum(), ctrl)
    step = JaxPhysics(tip._arguments[0], outputs=("site_xpos",))
    with jax.enable_x64(True):

        def total(u):
            after = jax.vmap(step.rollout)(jnp.asarray(q), jnp.asarray(v), u).site_xpos
            return jnp.sin(after).sum(), after

        ours, after = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(u))
    np.testing.assert_array_equal(after, expected.detach().numpy())
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-12)


def test_single_precision_and_plain_results() -> None:
    step = JaxPhysics(load(ROD, "Euler"), gradient=FiniteDifference())
    q, v, u = (jnp.asarray([x], jnp.float32) for x in (0.3, 0.1, 0.2))
    after = step(q, v, u)
    assert after._fields == ("qpos", "qvel") and after.qpos.dtype == jnp.float32
    slope = jax.grad(lambda u: step(q, v, u).qvel[0])(u)
    assert float(slope[0]) == pytest.approx(0.01 * 3 / 0.6, rel=1e-5)


def test_what_cannot_be_used_is_refused() -> None:
    model = load(ROD, "Euler")
    one = jnp.ones(1)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"inputs": ("force",)}, "inputs has force; there are: qfrc_applied, xfrc_applied"),
        ({"outputs": ("tip",)}, "unknown output 'tip'"),
        ({"parameters": ("mass",)}, "unknown parameter 'mass'"),
    )
    for options, message in refused:
        with pytest.raises(DiffmaacError, match=message):
            JaxPhysics(model, **options)
    step = JaxPhysics(model)
    for call, message in (
        (lambda: step(one, one, jnp.ones((2, 1))), r"ctrl has the shape \(2, 1\).*expected \(1,\).*vmap"),
        (lambda: step(one, one, one, qfrc_applied=one), r"Name it when you build it: inputs=\('qfrc_applied',\)"),
        (lambda: step(one, one, one, parameters={"body_mass": one}), "given the parameter body_mass"),
    ):
        with pytest.raises(DiffmaacError, match=message):
            call()


PROGRAM = """
import sys, mujoco, jax, jax.numpy as jnp
from diffmaac import physics
step = physics.JaxPhysics(mujoco.MjModel.from_xml_string(MODEL), outputs=("site_xpos",))
one = jnp.ones(1)
print(jax.grad(lambda u: step(one, one, u).site_xpos[0, 2])(one).shape, "torch" in sys.modules)
"""


def test_it_needs_no_torch() -> None:
    code = PROGRAM.replace("MODEL", repr(ROD))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(1,) False"
