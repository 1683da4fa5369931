"""diffmaac: policy optimisation by backpropagation through learned or true dynamics.

    run = diffmaac.train(env="pendulum", dynamics="true", horizon=5)
    action = diffmaac.load(run.path).act(obs)

    step = diffmaac.DifferentiablePhysics(mujoco.MjModel.from_xml_path("robot.xml"), frame_skip=5)
    qpos, qvel = step(qpos, qvel, ctrl)

Importing it loads neither JAX nor matplotlib.
"""

from typing import TYPE_CHECKING, Any

from diffmaac.api import Run as Run
from diffmaac.api import train as train
from diffmaac.errors import (
    CheckpointError as CheckpointError,
)
from diffmaac.errors import (
    DiffmaacError as DiffmaacError,
)
from diffmaac.errors import (
    DivergenceError as DivergenceError,
)
from diffmaac.errors import (
    SettingError as SettingError,
)
from diffmaac.errors import (
    TaskError as TaskError,
)
from diffmaac.system import LinearSystem as LinearSystem
from diffmaac.system import MujocoSystem as MujocoSystem
from diffmaac.task import Criterion as Criterion
from diffmaac.task import Task as Task
from diffmaac.task import get_task as get_task
from diffmaac.task import register as register
from diffmaac.training.run import Agent as Agent
from diffmaac.training.run import load as load

if TYPE_CHECKING:
    from diffmaac.differentiable import DifferentiablePhysics as DifferentiablePhysics

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "DifferentiablePhysics":  # JAX is loaded only where it is used
        from diffmaac.differentiable import DifferentiablePhysics

        return DifferentiablePhysics
    raise AttributeError(f"module 'diffmaac' has no attribute '{name}'")
