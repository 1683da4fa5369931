"""What this repository uses of `mujoco.mjx`, with its implementation in JAX (`impl="jax"`)."""

import enum
from collections.abc import Mapping
from typing import Any, Self

import jax
import mujoco
import numpy as np
from jax.typing import ArrayLike

_Indices = np.ndarray[Any, np.dtype[np.int32]]
"""Constants of a compiled program."""

class _PyTreeNode:
    def replace(self, **overrides: object) -> Self: ...
    def tree_replace(self, params: Mapping[str, ArrayLike | None]) -> Self:
        """Replaces what lies deeper, named with dots, as in "_impl.contact.dist"."""

class ConeType(enum.IntEnum):
    PYRAMIDAL = ...
    ELLIPTIC = ...

class DisableBit(enum.IntFlag):
    SPRING = ...
    DAMPER = ...
    EULERDAMP = ...

class JointType(enum.IntEnum):
    FREE = ...

class Option(_PyTreeNode):
    timestep: jax.Array
    impratio: jax.Array
    cone: ConeType
    disableflags: DisableBit

class Model(_PyTreeNode):
    nq: int
    nv: int
    opt: Option
    qpos_spring: jax.Array
    jnt_type: _Indices
    jnt_qposadr: _Indices
    jnt_dofadr: _Indices
    dof_treeid: _Indices
    dof_damping: jax.Array
    geom_type: _Indices
    geom_size: jax.Array

class Contact(_PyTreeNode):
    dist: jax.Array
    pos: jax.Array
    frame: jax.Array
    includemargin: jax.Array
    friction: jax.Array
    dim: _Indices
    geom: jax.Array
    efc_address: _Indices

class DataJAX(_PyTreeNode):
    ne: int
    nf: int
    contact: Contact
    efc_J: jax.Array
    efc_D: jax.Array
    efc_aref: jax.Array
    efc_frictionloss: jax.Array

class Data(_PyTreeNode):
    qpos: jax.Array
    qvel: jax.Array
    act: jax.Array
    ctrl: jax.Array
    qacc: jax.Array
    act_dot: jax.Array
    qacc_warmstart: jax.Array
    geom_xpos: jax.Array
    geom_xmat: jax.Array
    actuator_length: jax.Array
    qfrc_bias: jax.Array
    qfrc_passive: jax.Array
    qfrc_actuator: jax.Array
    qfrc_smooth: jax.Array
    qacc_smooth: jax.Array
    qfrc_constraint: jax.Array
    _impl: DataJAX

def put_model(m: mujoco.MjModel, *, impl: str | None = None) -> Model: ...
def make_data(m: Model | mujoco.MjModel, *, impl: str | None = None) -> Data: ...
def kinematics(m: Model, d: Data) -> Data: ...
def com_pos(m: Model, d: Data) -> Data: ...
def com_vel(m: Model, d: Data) -> Data: ...
def tendon(m: Model, d: Data) -> Data: ...
def tendon_armature(m: Model, d: Data) -> Data: ...
def crb(m: Model, d: Data) -> Data: ...
def collision(m: Model, d: Data) -> Data: ...
def make_constraint(m: Model, d: Data) -> Data: ...
def transmission(m: Model, d: Data) -> Data: ...
def fwd_velocity(m: Model, d: Data) -> Data: ...
def fwd_actuation(m: Model, d: Data) -> Data: ...
def euler(m: Model, d: Data) -> Data: ...
def rne(m: Model, d: Data, flg_acc: bool = False) -> Data: ...
def full_m(m: Model, d: Data) -> jax.Array: ...
def deriv_smooth_vel(m: Model, d: Data) -> jax.Array | None: ...
