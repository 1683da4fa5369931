"""How XLA is used on a CPU: several devices to split a batch over, and the options to compile with."""

import contextlib
import os

import jax

from diffmaac.errors import DiffmaacError
from diffmaac.physics.typed import config, set_config

MAX_HOST_DEVICES = 4
"""XLA compiles and dispatches for each device; beyond a few, small batches no longer fill them."""

CPU_COMPILER_OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 2}
"""XLA's newer emitters compute a fused value again for each of its uses, which doubles with every link of a kinematic
chain: Pusher's nine joints took 92 ms for one state in place of 0.7. Without them half_cheetah's, hopper's and ant's
programs compile in 0.5 to 0.7 of the time and run in 1.0 to 1.1 of it (half_cheetah, hopper, ant, with other jobs
beside). Level 2 runs as fast as 3 and compiles sooner.
"""


_home: int | None = None
"""The process that JAX has run in."""


def check_process() -> None:
    """Raises DiffmaacError in a process that was forked after JAX had run: its threads are gone there, and it hangs."""
    global _home
    if _home is None:
        _home = os.getpid()
    if _home != os.getpid():
        raise DiffmaacError(
            "This process was forked after JAX had run, and JAX would hang in it. Start it by"
            " multiprocessing.get_context('spawn'), or build DifferentiablePhysics in the child alone."
        )


def check_cuda() -> None:
    """Raises DiffmaacError where JAX cannot compute on CUDA."""
    if (backend := jax.default_backend()) not in ("cuda", "gpu"):
        raise DiffmaacError(
            f"MuJoCo's step on a GPU is MJX's, which needs a JAX with CUDA, and this one computes on: {backend}."
            " Install one (pip install 'diffmaac[cuda]'), or use device=cpu."
        )


def on_cpu() -> bool:
    """Whether JAX computes on a CPU."""
    return jax.default_backend() == "cpu"


def compiler_options() -> dict[str, bool | int]:
    """What to compile physics with, for the device that JAX takes."""
    return dict(CPU_COMPILER_OPTIONS) if on_cpu() else {}


def host_devices() -> tuple[jax.Device, ...]:
    """JAX's CPU devices, as many as cores (at most `MAX_HOST_DEVICES`) if that can still be chosen.

    XLA runs most of MJX's small operations on one core. Half_cheetah, batch 256, float64, on two cores that other jobs
    loaded, interleaved: forward 30 in place of 49 ms with two devices, pullback no faster. (Forward and backward in one
    program took 82 in place of 173 ms in two runs with less load; that is to be repeated on a quiet machine.)
    The number of devices is fixed when JAX's backend starts, so call this first. A number that the user has set is left
    alone.
    """
    chosen = config("jax_num_cpu_devices") >= 0 or "xla_force_host_platform_device_count" in _xla_flags()
    if not chosen:
        # JAX raises where its backend has started; there is no public way to ask before.
        with contextlib.suppress(RuntimeError):
            set_config("jax_num_cpu_devices", min(os.cpu_count() or 1, MAX_HOST_DEVICES))
    return tuple(jax.local_devices(backend="cpu"))


def _xla_flags() -> str:
    return os.environ.get("XLA_FLAGS", "")
