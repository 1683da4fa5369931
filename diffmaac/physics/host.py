"""Several CPU devices in JAX, to split a batch over."""

# pyright: reportInvalidTypeForm=false
# `jax.Device` is a class, which its stub hides.

import contextlib
import os

import jax

MAX_HOST_DEVICES = 4
"""XLA compiles and dispatches for each device; beyond a few, small batches no longer fill them."""


def host_devices() -> tuple[jax.Device, ...]:
    """JAX's CPU devices, as many as cores (at most `MAX_HOST_DEVICES`) if that can still be chosen.

    XLA runs most of MJX's small operations on one core. Half_cheetah, batch 256, float64, on two cores that other jobs
    loaded, interleaved: forward 30 in place of 49 ms with two devices, pullback no faster. (Forward and backward in one
    program took 82 in place of 173 ms in two runs with less load; that is to be repeated on a quiet machine.)
    The number of devices is fixed when JAX's backend starts, so call this first. A number that the user has set is left
    alone.
    """
    chosen = jax.config.values["jax_num_cpu_devices"] >= 0 or "xla_force_host_platform_device_count" in _xla_flags()
    if not chosen:
        # JAX raises where its backend has started; there is no public way to ask before.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, MAX_HOST_DEVICES))
    return tuple(jax.local_devices(backend="cpu"))


def _xla_flags() -> str:
    return os.environ.get("XLA_FLAGS", "")
