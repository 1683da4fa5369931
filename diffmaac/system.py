"""What moves: a MuJoCo model or a linear system, and how its state is observed. Knows nothing of reward or learning."""

import abc
import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffmaac.errors import DivergenceError, TaskError, shortened
from diffmaac.mujoco_warnings import log_warnings
from diffmaac.physics import ParameterSpace

log_warnings()

_CONSTANTS = (
    *("body_mass", "body_inertia", "body_pos", "geom_type", "geom_size", "geom_pos", "geom_friction", "jnt_axis"),
    *("geom_solref", "geom_solimp", "geom_contype", "geom_conaffinity", "jnt_type", "jnt_range", "jnt_stiffness"),
    *("dof_damping", "dof_armature", "dof_frictionloss", "qpos_spring", "actuator_gear", "actuator_ctrlrange"),
    *("actuator_gainprm", "actuator_biasprm"),
)
"""Arrays of an `MjModel` that tell an edited robot from the one that it was."""
_OPTIONS = ("timestep", "gravity", "wind", "density", "viscosity", "integrator", "cone", "impratio")
"""Likewise of its `opt`."""


@dataclass(frozen=True)
class Coordinates:
    """Observation <-> physics state, inverse of each other up to symmetries of the dynamics.

    The observation is ``concat(qpos[hidden:] without the angles, cos(angles), sin(angles), qvel)``. `hidden` counts the
    leading coordinates that the dynamics does not depend on (a free root's x); `angles` lists the indices into qpos of
    unlimited hinges, observed by cosine and sine so that a full turn is no change.
    """

    nq: int
    nv: int
    hidden: int = 0
    angles: tuple[int, ...] = ()

    @cached_property
    def plain(self) -> tuple[int, ...]:
        """Indices into qpos of the coordinates observed as they are."""
        return tuple(i for i in range(self.hidden, self.nq) if i not in self.angles)

    @property
    def obs_size(self) -> int:
        return len(self.plain) + 2 * len(self.angles) + self.nv

    def observe(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """(*batch, nq), (*batch, nv) -> (*batch, obs)."""
        if not self.angles:
            return torch.cat([qpos[..., self.hidden :], qvel], -1)
        angle = qpos[..., list(self.angles)]
        return torch.cat([qpos[..., list(self.plain)], angle.cos(), angle.sin(), qvel], -1)

    def physics_state(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """(*batch, obs) -> qpos (*batch, nq), hidden coordinates at zero and angles in (-pi, pi]; qvel (*batch, nv).

        The hidden coordinates get no gradient; an angle's is that of ``atan2(sin, cos)``.
        """
        n_plain, n_angles = len(self.plain), len(self.angles)
        qvel = obs[..., obs.shape[-1] - self.nv :]
        hidden = obs.new_zeros(*obs.shape[:-1], self.hidden)
        if not self.angles:
            return torch.cat([hidden, obs[..., :n_plain]], -1), qvel
        plain, cos, sin = obs[..., : n_plain + 2 * n_angles].split([n_plain, n_angles, n_angles], -1)
        shuffled = torch.cat([hidden, plain, torch.atan2(sin, cos)], -1)
        position = [*range(self.hidden), *self.plain, *self.angles]
        return shuffled[..., np.argsort(position).tolist()], qvel


class AbstractSimulator(abc.ABC):
    """One state, stepped in place without gradients (the inside of a Gymnasium environment)."""

    @abc.abstractmethod
    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        """Starts from the given state, as after a reset."""

    @abc.abstractmethod
    def step(self, action: np.ndarray) -> None:
        """One control step under `action` in [-1, 1]. Raises DivergenceError where the state is no longer finite."""

    @abc.abstractmethod
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """qpos, qvel (copies)."""

    @abc.abstractmethod
    def snapshot(self) -> np.ndarray:
        """Everything the next step depends on, as float64."""

    @abc.abstractmethod
    def restore(self, snapshot: np.ndarray) -> None:
        """The inverse of `snapshot`."""


class AbstractSystem(abc.ABC):
    """What is to be controlled."""

    @property
    @abc.abstractmethod
    def coordinates(self) -> Coordinates:
        """How the physics state is observed."""

    @property
    def obs_size(self) -> int:
        """Numbers in an observation."""
        return self.coordinates.obs_size

    @property
    @abc.abstractmethod
    def action_size(self) -> int:
        """Numbers in an action."""

    def physics(self) -> "AbstractSystem":
        """The system whose motion can be computed, and differentiated, from the observation.

        Raises TaskError where it cannot, saying what is not known.
        """
        return self

    @property
    @abc.abstractmethod
    def dt(self) -> float:
        """Seconds of one control step."""

    @abc.abstractmethod
    def simulator(self) -> AbstractSimulator:
        """A simulator of its own, stepped in place without gradients."""

    @abc.abstractmethod
    def constants(self) -> list[np.ndarray]:
        """The numbers that the motion depends on, to tell one system from another."""


def parse_mjcf(xml: str | Path) -> mujoco.MjModel:
    """The model of an MJCF: a path, or the text itself. Raises TaskError where it does not parse."""
    text = xml if isinstance(xml, str) and xml.lstrip().startswith("<") else None
    if text is None and not Path(xml).is_file():
        raise TaskError(f"the MJCF '{shortened(xml)}' cannot be read: there is no such file. Give a path, or the text.")
    try:
        return mujoco.MjModel.from_xml_path(str(xml)) if text is None else mujoco.MjModel.from_xml_string(text)
    except ValueError as error:
        raise TaskError(f"the MJCF does not parse: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, eq=False)
class MujocoSystem(AbstractSystem):
    """A MuJoCo model, `frame_skip` engine steps to one control step.

    Actions in [-1, 1] are scaled to `actuator_ctrlrange`. Raises TaskError for a model without control ranges or with
    activation states, and where `hidden` or `angles` name coordinates that are not there or do not turn.
    """

    model: mujoco.MjModel
    frame_skip: int
    hidden: int = 0
    angles: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.frame_skip < 1:
            raise TaskError(f"frame_skip={self.frame_skip}: must be at least 1 engine step for a control step.")
        if self.model.na:
            raise TaskError(
                f"the model has {self.model.na} activation states, which the observation would not determine."
            )
        if not self.model.nu or not self.model.actuator_ctrllimited.all():
            raise TaskError(
                "every actuator needs a ctrlrange (and the model an actuator): actions in [-1, 1] are scaled to it."
            )
        self._check_coordinates()

    def _check_coordinates(self) -> None:
        """`hidden` counts first coordinates that nothing but the motion determines; `angles` are hinges behind them."""
        model = self.model
        if not 0 <= self.hidden < max(model.nq, 1):
            raise TaskError(f"hidden={self.hidden}: the model has {model.nq} positions, and one must be observed.")
        hinges = model.jnt_qposadr[model.jnt_type == int(mujoco.mjtJoint.mjJNT_HINGE)].tolist()
        allowed = [i for i in hinges if i >= self.hidden]
        if not set(self.angles) <= set(allowed) or len(set(self.angles)) < len(self.angles):
            raise TaskError(
                f"angles={tuple(self.angles)}: positions of hinges that are observed by cosine and sine, each once."
                f" The model has: {', '.join(map(str, allowed)) or 'none'}."
            )

    @classmethod
    def from_xml(
        cls, xml: str | Path, frame_skip: int, hidden: int = 0, angles: tuple[int, ...] = ()
    ) -> "MujocoSystem":
        """From MJCF: a path, or the text itself. Raises TaskError where it does not parse."""
        return cls(parse_mjcf(xml), frame_skip, hidden, angles)

    def with_parameters(self, parameters: Mapping[str, Tensor | ArrayLike]) -> "MujocoSystem":
        """The same system, whose model has other values of the fields named, each of its field's shape.

            heavier = system.with_parameters({"body_mass": 1.3 * system.model.body_mass})

        Constants that MuJoCo derives follow as `mj_setConst` sets them; docs/parameters.md lists fields and constants.
        Raises DiffmaacError for a field that the model has not or that is no parameter, another shape, or a number
        that is not finite or out of its domain.
        """
        arrays = {name: x.detach().cpu() if isinstance(x, Tensor) else x for name, x in parameters.items()}
        space = ParameterSpace(self.model, tuple(parameters))
        return dataclasses.replace(self, model=space.model_with(space.vector(arrays)))

    @property
    def coordinates(self) -> Coordinates:
        return self._coordinates

    @cached_property
    def _coordinates(self) -> Coordinates:
        return Coordinates(self.model.nq, self.model.nv, self.hidden, self.angles)

    @property
    def action_size(self) -> int:
        return self.model.nu

    @property
    def dt(self) -> float:
        return self.model.opt.timestep * self.frame_skip

    @cached_property
    def ctrl_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Offset and factor, each (nu,): ctrl = offset + factor * action."""
        low, high = self.model.actuator_ctrlrange.T
        return (high + low) / 2, (high - low) / 2

    def constants(self) -> list[np.ndarray]:
        arrays = [getattr(self.model, name) for name in _CONSTANTS]
        options = [getattr(self.model.opt, name) for name in _OPTIONS]
        return [np.asarray(x, float) for x in (*arrays, *options, self.frame_skip)]

    def engine_model(self) -> mujoco.MjModel:
        """A copy of the model that stays where it diverged, where MuJoCo's default would silently reset it."""
        model = copy.copy(self.model)
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        return model

    def simulator(self) -> "MujocoSimulator":
        return MujocoSimulator(self)


class MujocoSimulator(AbstractSimulator):
    """The MuJoCo C engine."""

    _SPEC = mujoco.mjtState.mjSTATE_INTEGRATION

    def __init__(self, system: MujocoSystem):
        self._system = system
        self._model = system.engine_model()
        self._data = mujoco.MjData(self._model)
        self._offset, self._factor = system.ctrl_scale

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = qpos
        self._data.qvel[:] = qvel

    def step(self, action: np.ndarray) -> None:
        self._data.ctrl[:] = self._offset + self._factor * action
        mujoco.mj_step(self._model, self._data, nstep=self._system.frame_skip)
        if not (np.isfinite(self._data.qpos).all() and np.isfinite(self._data.qvel).all()):
            raise DivergenceError(
                f"the physics diverged at t = {self._data.time:.3f} s: qpos or qvel is no longer finite. "
                "Try a smaller timestep in the MJCF, or stronger damping."
            )

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        return self._data.qpos.copy(), self._data.qvel.copy()

    def snapshot(self) -> np.ndarray:
        out = np.empty(mujoco.mj_stateSize(self._model, self._SPEC))
        mujoco.mj_getState(self._model, self._data, out, self._SPEC)
        return out

    def restore(self, snapshot: np.ndarray) -> None:
        mujoco.mj_setState(self._model, self._data, snapshot, self._SPEC)


@dataclass(frozen=True, eq=False)
class LinearSystem(AbstractSystem):
    """``s_tp1 = A s_t + B a_t`` in closed form, with s = concat(qpos, qvel): A (n, n), B (n, action), n even."""

    A: np.ndarray
    B: np.ndarray
    seconds: float

    @property
    def coordinates(self) -> Coordinates:
        return self._coordinates

    @cached_property
    def _coordinates(self) -> Coordinates:
        n = self.A.shape[0] // 2
        return Coordinates(n, n)

    @property
    def action_size(self) -> int:
        return self.B.shape[1]

    @property
    def dt(self) -> float:
        return self.seconds

    def constants(self) -> list[np.ndarray]:
        return [self.A, self.B, np.array(self.dt)]

    def simulator(self) -> "LinearSimulator":
        return LinearSimulator(self)


class LinearSimulator(AbstractSimulator):
    """The closed form, in float64."""

    def __init__(self, system: LinearSystem):
        self._system = system
        self._s = np.zeros(system.A.shape[0])

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        self._s = np.concatenate([qpos, qvel])

    def step(self, action: np.ndarray) -> None:
        self._s = self._system.A @ self._s + self._system.B @ action
        if not np.abs(self._s).max() < np.finfo(np.float32).max:
            raise DivergenceError("the linear system diverged: its state is beyond float32. Shorten the episode.")

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        qpos, qvel = np.split(self._s, 2)
        return qpos.copy(), qvel.copy()

    def snapshot(self) -> np.ndarray:
        return self._s.copy()

    def restore(self, snapshot: np.ndarray) -> None:
        self._s = snapshot.copy()
