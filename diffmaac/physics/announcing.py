"""Says that JAX compiles, what it waits for, and after a while that it still does."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager

import mujoco
import numpy as np
from numpy.typing import DTypeLike

from diffmaac.physics.cache import persistent_cache
from diffmaac.physics.pairs import touching_pairs
from diffmaac.repeating import repeating

_LOGGER = logging.getLogger(__name__)
LARGE_NV, LARGE_PAIRS = 30, 200
"""Degrees of freedom and pairs of geoms from which a program takes more than a minute (a humanoid has 23 and 104)."""
PATIENCE = 30.0
"""Seconds between two lines of one compilation."""


def announce(model: mujoco.MjModel, what: str, batch: int, dtype: DTypeLike) -> None:
    """One line before a program is compiled: what for, what it waits for, how long, and whether it is kept."""
    directory = persistent_cache()
    lasting = f"; the program is kept in {directory}, so the next start takes a few" if directory else ""
    pairs = sum(1 for _ in touching_pairs(model))
    large = model.nv > LARGE_NV or pairs > LARGE_PAIRS
    _LOGGER.info(
        "compiling %s for batches of %d in %s: waiting for JAX to trace and compile %d degrees of freedom and %d pairs"
        " of geoms, %s%s",
        what,
        batch,
        np.dtype(dtype).name,
        model.nv,
        pairs,
        "one to several minutes" if large else "some ten seconds to a minute",
        lasting,
    )


@contextmanager
def announced(model: mujoco.MjModel, what: str, batch: int, dtype: DTypeLike) -> Generator[None]:
    """`announce`, and every `PATIENCE` seconds within the block another line that says how long it has taken so far."""
    announce(model, what, batch, dtype)
    start = time.monotonic()

    def tell() -> None:
        _LOGGER.info("still compiling %s: %.0f s", what, time.monotonic() - start)

    with repeating(PATIENCE, tell):
        yield
