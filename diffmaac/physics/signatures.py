"""The types of control steps in JAX."""

from collections.abc import Callable
from typing import TypeAlias

from jax import Array
from jaxtyping import Float

PhysicsState: TypeAlias = tuple[Float[Array, " nq"], Float[Array, " nv"], Float[Array, " na"]]
"""(qpos, qvel, act)."""

ControlStep: TypeAlias = Callable[
    [Float[Array, " nq"], Float[Array, " nv"], Float[Array, " na"], Float[Array, " nu"]], PhysicsState
]
"""(qpos, qvel, act, ctrl) -> (qpos, qvel, act): pure, unbatched, differentiable in every argument."""

BatchedPhysicsState: TypeAlias = tuple[Float[Array, "batch nq"], Float[Array, "batch nv"], Float[Array, "batch na"]]

BatchedControlStep: TypeAlias = Callable[
    [Float[Array, "batch nq"], Float[Array, "batch nv"], Float[Array, "batch na"], Float[Array, "batch nu"]],
    BatchedPhysicsState,
]
