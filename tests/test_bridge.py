"""The bridge: values, gradients, memory and refusals, on closed-form functions."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import torch

from diffmaac.bridge import _array_to_torch, _tensor_to_jax, to_torch

PARAMETERS = (torch.float32, torch.float64)


def closed_form(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.sin(x) * y, (x**2).sum(axis=-1)


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_gradcheck() -> None:
    x, y = random(3, 4).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(to_torch(closed_form), (x, y))


def test_gradcheck_of_non_contiguous_inputs() -> None:
    x, y = random(4, 3).T.requires_grad_(), random(3, 8, seed=1)[:, ::2].requires_grad_()
    assert torch.autograd.gradcheck(to_torch(closed_form), (x, y))


@pytest.mark.parametrize("dtype", PARAMETERS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_values_are_those_of_jax_and_keep_the_dtype(dtype: torch.dtype, requires_grad: bool) -> None:
    x, y = random(3, 4, dtype=dtype), random(3, 4, dtype=dtype, seed=1)
    outputs = to_torch(closed_form)(x.requires_grad_(requires_grad), y)
    with jax.enable_x64(dtype == torch.float64):
        expected = jax.jit(closed_form)(x.detach().numpy(), y.numpy())
    for output, value in zip(outputs, expected, strict=True):
        assert output.dtype == dtype and output.requires_grad == requires_grad
        torch.testing.assert_close(output.detach(), torch.from_dlpack(value), rtol=0, atol=0)


def test_jax_keeps_its_global_precision() -> None:
    before = jax.config.values["jax_enable_x64"]
    to_torch(closed_form)(random(2, 2), random(2, 2))
    assert jax.config.values["jax_enable_x64"] == before


def test_memory_is_shared_both_ways() -> None:
    x = random(64)
    with jax.enable_x64(True):
        array = _tensor_to_jax(x)
        assert array.unsafe_buffer_pointer() == x.data_ptr()
        result = array + 1
        assert _array_to_torch(result, x).data_ptr() == result.unsafe_buffer_pointer()


def test_an_argument_that_is_passed_through_is_not_aliased() -> None:
    x = random(64)
    (output,) = to_torch(lambda array: (array,))(x)
    assert output.data_ptr() != x.data_ptr()
    torch.testing.assert_close(output, x, rtol=0, atol=0)


def test_results_outlive_their_arguments() -> None:
    double = to_torch(lambda array: (2 * array,))
    outputs = [double(torch.full((1000,), float(index), dtype=torch.float64))[0] for index in range(50)]
    assert all(bool((output == 2 * index).all()) for index, output in enumerate(outputs))


def test_empty_inputs() -> None:
    x, empty = random(3, 2).requires_grad_(), torch.zeros(3, 0, dtype=torch.float64)
    doubled, nothing = to_torch(lambda x, empty: (2 * x, empty))(x, empty)
    doubled.sum().backward()
    assert nothing.shape == (3, 0)
    torch.testing.assert_close(x.grad, torch.full_like(x, 2.0))


def test_unused_output_counts_as_zero_cotangent() -> None:
    x, y = random(3, 4).requires_grad_(), random(3, 4, seed=1)
    to_torch(closed_form)(x, y)[1].sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_mixed_dtypes_raise() -> None:
    with pytest.raises(ValueError, match="Nothing is converted"):
        to_torch(closed_form)(random(3, 4), random(3, 4, dtype=torch.float32))


def test_integers_raise() -> None:
    with pytest.raises(ValueError, match=r"torch\.int64"):
        to_torch(closed_form)(torch.ones(3, 4, dtype=torch.int64), torch.ones(3, 4, dtype=torch.int64))


def test_mixed_devices_raise() -> None:
    with pytest.raises(ValueError, match="meta"):
        to_torch(closed_form)(random(3, 4), torch.empty(3, 4, dtype=torch.float64, device="meta"))


@pytest.mark.parametrize("constant_cotangent", [True, False])
def test_second_derivative_raises(constant_cotangent: bool) -> None:
    x, y = random(3, 4).requires_grad_(), random(3, 4, seed=1)
    weight = 1.0 if constant_cotangent else x
    (gradient,) = torch.autograd.grad((weight * to_torch(closed_form)(x, y)[0]).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="only first derivatives"):
        torch.autograd.grad(gradient.sum(), x)


@pytest.mark.parametrize("which", ["input", "output"])
def test_change_in_place_before_backward_raises(which: str) -> None:
    x = random(3).requires_grad_()
    argument = x * 1
    (output,) = to_torch(lambda array: (jnp.exp(array),))(argument)
    loss = output.sum()
    with torch.no_grad():
        {"input": argument, "output": output}[which].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_composes_with_torch() -> None:
    x = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    (sine,) = to_torch(lambda array: (jnp.sin(array),))(2 * x)
    (sine**2).sum().backward()
    assert x.grad is not None
    assert math.isclose(x.grad.item(), 2 * math.sin(1.2), rel_tol=1e-14)


SPLIT = """
import jax, torch
from diffmaac.bridge import to_torch
from diffmaac.physics import host_devices
jax.config.update("jax_num_cpu_devices", 2)
devices = host_devices()
assert len(devices) == 2
function = lambda x, empty: (jax.numpy.sin(x) * x[:, :1], empty)
for batch in (4, 5):
    x = torch.linspace(0, 1, 3 * batch, dtype=torch.float64).reshape(batch, 3).requires_grad_()
    results = []
    for bridge in (to_torch(function), to_torch(function, devices)):
        value, _ = bridge(x, x.new_zeros(batch, 0))
        with torch.no_grad():
            assert torch.equal(bridge(x, x.new_zeros(batch, 0))[0], value)
        results.append((value, *torch.autograd.grad(value.square().sum(), x)))
    for one, split in zip(*results):
        torch.testing.assert_close(one, split, rtol=1e-14, atol=1e-14)
"""


def test_split_over_devices_changes_nothing() -> None:
    """A batch that divides by their number, and one that does not. Devices are chosen once in a process."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", SPLIT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
