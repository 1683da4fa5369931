"""One control step of a MuJoCo model, and how it is differentiated: in the C engine, or in JAX.

Public are the names of `__all__`: `JaxPhysics` is the step as a function of JAX, and nothing here needs torch. The rest
serves the library. What needs JAX is imported when it is first used; the gradients of the C engine do without it.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from diffmaac.physics.engine import Engine as Engine
from diffmaac.physics.engine_gradient import EngineDifferentiation as EngineDifferentiation
from diffmaac.physics.engine_gradient import EngineGradient as EngineGradient
from diffmaac.physics.engine_gradient import check_model as check_model
from diffmaac.physics.finite_difference import CentralDifferences as CentralDifferences
from diffmaac.physics.finite_difference import FiniteDifference as FiniteDifference
from diffmaac.physics.gradient import AbstractGradient as AbstractGradient
from diffmaac.physics.output_gradient import OutputDifferentiation as OutputDifferentiation
from diffmaac.physics.outputs import OutputSpace as OutputSpace
from diffmaac.physics.parameter_gradient import ParameterDifferentiation as ParameterDifferentiation
from diffmaac.physics.parameters import ParameterSpace as ParameterSpace
from diffmaac.physics.step_jacobians import StepJacobians as StepJacobians
from diffmaac.physics.tangent import TangentSpace as TangentSpace
from diffmaac.physics.unsupported import UnsupportedModel as UnsupportedModel
from diffmaac.physics.user_inputs import USER_INPUTS as USER_INPUTS
from diffmaac.physics.user_inputs import UserInputs as UserInputs

if TYPE_CHECKING:
    from diffmaac.physics._import import mjx as mjx
    from diffmaac.physics.announcing import announce as announce
    from diffmaac.physics.batch import batched_control_step as batched_control_step
    from diffmaac.physics.cache import enable_compilation_cache as enable_compilation_cache
    from diffmaac.physics.cache import persistent_cache as persistent_cache
    from diffmaac.physics.compiled import CompiledGradient as CompiledGradient
    from diffmaac.physics.host import check_cuda as check_cuda
    from diffmaac.physics.host import check_process as check_process
    from diffmaac.physics.host import compiler_options as compiler_options
    from diffmaac.physics.host import host_devices as host_devices
    from diffmaac.physics.host import on_cpu as on_cpu
    from diffmaac.physics.implicit import ImplicitGradient as ImplicitGradient
    from diffmaac.physics.jax_physics import JaxPhysics as JaxPhysics
    from diffmaac.physics.signatures import ControlStep as ControlStep
    from diffmaac.physics.unrolled import UnrolledGradient as UnrolledGradient

__all__ = ["EngineGradient", "FiniteDifference", "JaxPhysics", "UnsupportedModel"]

# torch shares the GPU: JAX is to take memory as it needs it. By default it takes three quarters when it starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

_HOMES = {
    "mjx": "_import",
    "announce": "announcing",
    "batched_control_step": "batch",
    "enable_compilation_cache": "cache",
    "persistent_cache": "cache",
    "CompiledGradient": "compiled",
    "check_cuda": "host",
    "check_process": "host",
    "compiler_options": "host",
    "host_devices": "host",
    "on_cpu": "host",
    "ImplicitGradient": "implicit",
    "JaxPhysics": "jax_physics",
    "ControlStep": "signatures",
    "UnrolledGradient": "unrolled",
}
"""The names that need JAX -> their modules."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diffmaac.physics' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"diffmaac.physics.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
