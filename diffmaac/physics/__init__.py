"""One control step of a MuJoCo model in JAX, and how it is differentiated."""

from diffmaac.physics._import import mjx as mjx  # first: it keeps MJX from printing
from diffmaac.physics.batch import batched_control_step as batched_control_step
from diffmaac.physics.cache import enable_compilation_cache as enable_compilation_cache
from diffmaac.physics.cache import persistent_cache as persistent_cache
from diffmaac.physics.engine import Engine as Engine
from diffmaac.physics.engine_gradient import EngineDifferentiation as EngineDifferentiation
from diffmaac.physics.engine_gradient import EngineGradient as EngineGradient
from diffmaac.physics.engine_gradient import check_model as check_model
from diffmaac.physics.finite_difference import CentralDifferences as CentralDifferences
from diffmaac.physics.finite_difference import FiniteDifference as FiniteDifference
from diffmaac.physics.gradient import AbstractGradient as AbstractGradient
from diffmaac.physics.gradient import ControlStep as ControlStep
from diffmaac.physics.host import compiler_options as compiler_options
from diffmaac.physics.host import host_devices as host_devices
from diffmaac.physics.host import on_cpu as on_cpu
from diffmaac.physics.implicit import ImplicitGradient as ImplicitGradient
from diffmaac.physics.unrolled import UnrolledGradient as UnrolledGradient
from diffmaac.physics.unsupported import UnsupportedModel as UnsupportedModel
