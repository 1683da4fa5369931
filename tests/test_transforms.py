"""A step as torch's users take one: torch.func, torch.compile, copies, pickles, other kinds of model and array."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from support.engine import ASSORTMENT, PENDULUM, load, random_states
from torch import Tensor, nn

from diffmaac import DifferentiablePhysics
from diffmaac.autograd import dense_tensor
from diffmaac.differentiable.step import compiled_model
from diffmaac.physics import FiniteDifference

TEXT = PENDULUM.format(integrator="Euler")
COLUMN = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None]


@pytest.fixture(scope="module", params=["finite_difference", "implicit"])
def step(request: pytest.FixtureRequest) -> DifferentiablePhysics:
    return DifferentiablePhysics(load(PENDULUM, "Euler"), 2, request.param)


@pytest.fixture(scope="module")
def differenced() -> DifferentiablePhysics:
    return DifferentiablePhysics(load(PENDULUM, "Euler"), 2, "finite_difference")


def angle(step: DifferentiablePhysics, qpos: Tensor) -> Tensor:
    return step(qpos, 2 * COLUMN, 3 * COLUMN)[0]


def test_jacrev_is_the_jacobian_row_by_row(step: DifferentiablePhysics) -> None:
    """Rows do not touch each other: the Jacobian of the batch is diagonal, its diagonal the gradient of the sum."""
    jacobian = torch.func.jacrev(lambda qpos: angle(step, qpos))(COLUMN).squeeze()
    qpos = COLUMN.clone().requires_grad_()
    (diagonal,) = torch.autograd.grad(angle(step, qpos).sum(), qpos)
    torch.testing.assert_close(jacobian, torch.diag(diagonal[:, 0]), rtol=1e-12, atol=1e-12)


def test_vmap_is_one_batch(step: DifferentiablePhysics) -> None:
    """Over batches, with an input that has no such axis; and of gradients, over single states."""
    qpos = torch.stack([COLUMN, COLUMN + 1, COLUMN - 1])
    mapped = torch.func.vmap(lambda one: angle(step, one))(qpos)
    torch.testing.assert_close(mapped, torch.stack([angle(step, one) for one in qpos]), rtol=0, atol=0)

    def of_one(qpos: Tensor, qvel: Tensor) -> Tensor:
        return step(qpos[None], qvel[None], qvel[None])[1].sum()

    each = torch.func.vmap(torch.func.grad(of_one))(COLUMN, COLUMN)
    together = COLUMN.clone().requires_grad_()
    (expected,) = torch.autograd.grad(step(together, COLUMN, COLUMN)[1].sum(), together)
    torch.testing.assert_close(each, expected, rtol=1e-12, atol=1e-12)


def test_a_model_with_activations_is_mapped() -> None:
    model = load(ASSORTMENT, "Euler")
    physics = DifferentiablePhysics(model, 1, "finite_difference")
    qpos, qvel, act, ctrl = (torch.from_numpy(x) for x in random_states(model, 4))

    def of_one(*row: Tensor) -> tuple[Tensor, ...]:
        return physics(*(x[None] for x in row))

    mapped: Any = torch.func.vmap(of_one)(qpos, qvel, ctrl, act)
    for one, other in zip(mapped, physics(qpos, qvel, ctrl, act), strict=True):
        assert torch.equal(one[:, 0], other)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch's own, where it batches gradients
def test_what_is_not_supported_says_so(differenced: DifferentiablePhysics) -> None:
    with pytest.raises(RuntimeError, match="forward mode"):
        torch.func.jvp(lambda qpos: angle(differenced, qpos), (COLUMN,), (COLUMN,))
    with pytest.raises(RuntimeError, match="only first derivatives"):
        torch.func.jacrev(torch.func.grad(lambda qpos: angle(differenced, qpos).sum()))(COLUMN)
    qpos = COLUMN.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"is_grads_batched.*Use torch\.func\.jacrev"):
        torch.autograd.grad(angle(differenced, qpos), qpos, torch.ones(2, 3, 1).double(), is_grads_batched=True)
    unrolled = DifferentiablePhysics(TEXT, 1, "unrolled")
    with pytest.raises(RuntimeError, match="UnrolledGradient"):
        torch.func.vmap(lambda qpos: angle(unrolled, qpos))(COLUMN[None])


COMPILED = """
import torch, diffmaac
step = diffmaac.DifferentiablePhysics(MJCF, 2, "finite_difference")
column = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None]
def loss(qpos):
    return step(2 * qpos, column, column)[0].sin().sum()
gradients = []
for function in (loss, torch.compile(loss, backend="eager")):
    qpos = column.clone().requires_grad_()
    gradients.append(torch.autograd.grad(function(qpos), qpos)[0])
assert torch.equal(*gradients)
"""


def test_compiled_functions_break_around_a_step() -> None:
    """In a process of its own: what checks types in these tests would be traced as well."""
    code = COMPILED.replace("MJCF", repr(TEXT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Dynamo does not know" not in done.stderr


class Net(nn.Module):
    def __init__(self, step: DifferentiablePhysics):
        super().__init__()
        self.gain, self.step = nn.Parameter(torch.ones(1, dtype=torch.float64)), step

    def forward(self, qpos: Tensor) -> Tensor:
        return angle(self.step, self.gain * qpos)


def saved(net: Net) -> Net:
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), saved])
def test_a_module_with_a_step_is_copied_pickled_and_saved(again, differenced: DifferentiablePhysics) -> None:
    net = Net(differenced)
    other = again(net)
    assert other.step is not net.step and repr(other.step) == repr(net.step)
    assert torch.equal(other(COLUMN), net(COLUMN))


def test_models_come_in_many_forms(tmp_path: Path, differenced: DifferentiablePhysics) -> None:
    path = tmp_path / "pendulum.xml"
    path.write_text(TEXT)
    for model in (TEXT, path, str(path), mujoco.MjSpec.from_string(TEXT)):
        step = DifferentiablePhysics(model, 2)
        assert step.gradient == FiniteDifference()
        assert torch.equal(angle(step, COLUMN), angle(differenced, COLUMN))
    with pytest.raises(ValueError, match=r"model is a int; expected a mujoco\.MjModel"):
        compiled_model(3)
    with pytest.raises(ValueError, match="does not parse"):
        DifferentiablePhysics("<mujoco>")


def test_arrays_are_taken_and_lists_are_not(differenced: DifferentiablePhysics) -> None:
    array = COLUMN.numpy()
    array_too = array.copy()
    array_too.flags.writeable = False
    expected = differenced(COLUMN, COLUMN, COLUMN)
    for one, other in zip(differenced(array, array_too, COLUMN), expected, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="qvel is a list; expected a torch tensor or a NumPy array"):
        dense_tensor("qvel", [[0.0]] * 3)
    with pytest.raises(ValueError, match="qvel is float32, ctrl is float64"):
        differenced(array, array.astype(np.float32), array)
