"""What this repository uses of `mujoco.rollout`: many trajectories in the C engine, over threads."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from mujoco import MjData, MjModel
from numpy.typing import ArrayLike, NDArray

_Trajectories = tuple[NDArray[np.float64], NDArray[np.float64]]
"""States (batch, steps, state) and sensors (batch, steps, sensordata)."""

class Rollout:
    def __init__(self, *, nthread: int | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...
    def rollout(
        self,
        model: MjModel | Sequence[MjModel],
        data: MjData | Sequence[MjData],
        initial_state: ArrayLike,
        control: ArrayLike | None = None,
        *,
        control_spec: int = ...,
        nstep: int | None = None,
        initial_warmstart: ArrayLike | None = None,
    ) -> _Trajectories: ...

def rollout(
    model: MjModel | Sequence[MjModel],
    data: MjData | Sequence[MjData],
    initial_state: ArrayLike,
    control: ArrayLike | None = None,
    *,
    nstep: int | None = None,
    initial_warmstart: ArrayLike | None = None,
) -> _Trajectories: ...
