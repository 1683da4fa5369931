"""Functions of JAX whose own types are unknown in part, with types. What they do is what JAX's functions do."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Residuals = TypeVar("Residuals")
Inputs = TypeVar("Inputs")
Each = TypeVar("Each")


def config(name: str) -> Any:
    """The value of one of JAX's settings."""
    return jax.config.values[name]


def set_config(name: str, value: str | int | bool | None) -> None:
    jax.config.update(name, value)


def einsum(subscripts: str, *operands: Array) -> Array:
    return jnp.einsum(subscripts, *operands)


def norm(array: Array, axis: int, keepdims: bool = False) -> Array:
    return jnp.linalg.norm(array, axis=axis, keepdims=keepdims)


def pad(array: Array, widths: tuple[tuple[int, int], ...]) -> Array:
    """Zeros before and after, so many along each axis."""
    return jnp.pad(array, widths)


def jvp(function: Callable[[Array], Array], at: Array, along: Array) -> tuple[Array, Array]:
    """The function's value, and its derivative along a direction."""
    value, derivative = jax.jvp(function, (at,), (along,))
    return value, derivative


def repeat(count: int, body: Callable[[Array, Result], Result], start: Result) -> Result:
    """`jax.lax.fori_loop` from 0."""
    return jax.lax.fori_loop(0, count, body, start)


def scan(step: Callable[[Result, Inputs], tuple[Result, Each]], start: Result, inputs: Inputs) -> tuple[Result, Each]:
    """`jax.lax.scan`: the last state, and what each step returns, stacked."""
    last, each = jax.lax.scan(step, start, inputs)
    return last, each


def linear_solve(matrix: Array, rhs: Array, solve: Callable[[Array, Array], Array], symmetric: bool) -> Array:
    """`jax.lax.custom_linear_solve` of a dense matrix, where ``solve(matrix, rhs)`` solves."""

    def multiply(x: Array) -> Array:
        return matrix @ x

    def solve_it(_: Callable[[Array], Array], b: Array) -> Array:
        return solve(matrix, b)

    def solve_transposed(_: Callable[[Array], Array], b: Array) -> Array:
        return solve(matrix.T, b)

    transposed = None if symmetric else solve_transposed
    return jax.lax.custom_linear_solve(multiply, rhs, solve_it, transposed, symmetric=symmetric)


def checkpoint(
    function: Callable[Arguments, Result], policy: Callable[..., bool], prevent_cse: bool
) -> Callable[Arguments, Result]:
    return jax.checkpoint(function, policy=policy, prevent_cse=prevent_cse)


def named(array: Array, name: str) -> Array:
    """`array`, under a name that the policy of a `checkpoint` knows."""
    return checkpoint_name(array, name)


def custom_vjp(
    function: Callable[Arguments, Result],
    forward: Callable[Arguments, tuple[Result, Residuals]],
    backward: Callable[[Residuals, Result], tuple[Array, ...]],
) -> Callable[Arguments, Result]:
    """`function` with the vector-Jacobian product that `forward` (value, residuals) and `backward` make."""
    step = jax.custom_vjp(function)
    step.defvjp(forward, backward)
    return step


def pull_back_program(
    step: Callable[..., tuple[Array, ...]], placement: jax.sharding.Sharding, compiler_options: dict[str, bool | int]
) -> Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """(inputs, cotangents) -> (values, gradients): `jax.vjp` of `step` in one jitted program, on `placement`."""

    def both(inputs: Any, cotangents: Any) -> Any:
        values, pullback = jax.vjp(step, *inputs)
        return values, pullback(cotangents)

    program: Callable[..., Any] = jax.jit(both, compiler_options=compiler_options)

    def run(inputs: Any, cotangents: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        placed: Any = jax.device_put((inputs, cotangents), placement)
        return program(*placed)

    return run
