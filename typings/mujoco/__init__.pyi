"""What this repository uses of `mujoco`, whose names come from a C extension without stubs.

A name that is missing here is an error to pyright: add it, after the installed package, which tests/test_stubs.py
compares. Arrays of an `MjModel` or `MjData` are views: writing to them changes the model or the state.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, SupportsIndex, SupportsInt

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]
_Singles = NDArray[np.float32]
_Integers = NDArray[np.int32]
_Booleans = NDArray[np.bool_]

mjMAXVAL: float
mjMINVAL: float
mjMINMU: float

class _Enum:
    """An enum of pybind11: it counts as an integer, but is none, and its class cannot be iterated."""

    def __init__(self, value: SupportsInt) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __or__(self, other: int | _Enum) -> int: ...
    def __ror__(self, other: int) -> int: ...

class mjtBias(_Enum):
    mjBIAS_NONE: ClassVar[mjtBias]
    mjBIAS_AFFINE: ClassVar[mjtBias]
    mjBIAS_MUSCLE: ClassVar[mjtBias]

class mjtCamera(_Enum):
    mjCAMERA_FIXED: ClassVar[mjtCamera]

class mjtCatBit(_Enum):
    mjCAT_ALL: ClassVar[mjtCatBit]

class mjtCone(_Enum):
    mjCONE_ELLIPTIC: ClassVar[mjtCone]

class mjtConstraint(_Enum):
    mjCNSTR_EQUALITY: ClassVar[mjtConstraint]
    mjCNSTR_FRICTION_DOF: ClassVar[mjtConstraint]
    mjCNSTR_FRICTION_TENDON: ClassVar[mjtConstraint]
    mjCNSTR_LIMIT_JOINT: ClassVar[mjtConstraint]
    mjCNSTR_LIMIT_TENDON: ClassVar[mjtConstraint]
    mjCNSTR_CONTACT_FRICTIONLESS: ClassVar[mjtConstraint]

class mjtConstraintState(_Enum):
    mjCNSTRSTATE_LINEARNEG: ClassVar[mjtConstraintState]
    mjCNSTRSTATE_LINEARPOS: ClassVar[mjtConstraintState]
    mjCNSTRSTATE_QUADRATIC: ClassVar[mjtConstraintState]
    mjCNSTRSTATE_CONE: ClassVar[mjtConstraintState]

class mjtDisableBit(_Enum):
    mjDSBL_ACTUATION: ClassVar[mjtDisableBit]
    mjDSBL_CLAMPCTRL: ClassVar[mjtDisableBit]
    mjDSBL_CONSTRAINT: ClassVar[mjtDisableBit]
    mjDSBL_CONTACT: ClassVar[mjtDisableBit]
    mjDSBL_SPRING: ClassVar[mjtDisableBit]
    mjDSBL_DAMPER: ClassVar[mjtDisableBit]
    mjDSBL_GRAVITY: ClassVar[mjtDisableBit]
    mjDSBL_MIDPHASE: ClassVar[mjtDisableBit]
    mjDSBL_FILTERPARENT: ClassVar[mjtDisableBit]
    mjDSBL_AUTORESET: ClassVar[mjtDisableBit]
    mjDSBL_EULERDAMP: ClassVar[mjtDisableBit]
    mjDSBL_WARMSTART: ClassVar[mjtDisableBit]

class mjtDyn(_Enum):
    mjDYN_NONE: ClassVar[mjtDyn]
    mjDYN_INTEGRATOR: ClassVar[mjtDyn]
    mjDYN_FILTER: ClassVar[mjtDyn]
    mjDYN_FILTEREXACT: ClassVar[mjtDyn]
    mjDYN_MUSCLE: ClassVar[mjtDyn]
    mjDYN_DCMOTOR: ClassVar[mjtDyn]

class mjtEnableBit(_Enum):
    mjENBL_OVERRIDE: ClassVar[mjtEnableBit]
    mjENBL_ENERGY: ClassVar[mjtEnableBit]
    mjENBL_FWDINV: ClassVar[mjtEnableBit]
    mjENBL_INVDISCRETE: ClassVar[mjtEnableBit]
    mjENBL_SLEEP: ClassVar[mjtEnableBit]
    mjENBL_DIAGEXACT: ClassVar[mjtEnableBit]
    mjENBL_IPC: ClassVar[mjtEnableBit]

class mjtEq(_Enum):
    mjEQ_CONNECT: ClassVar[mjtEq]
    mjEQ_WELD: ClassVar[mjtEq]
    mjEQ_JOINT: ClassVar[mjtEq]
    mjEQ_TENDON: ClassVar[mjtEq]

class mjtFontScale(_Enum):
    mjFONTSCALE_100: ClassVar[mjtFontScale]

class mjtFramebuffer(_Enum):
    mjFB_OFFSCREEN: ClassVar[mjtFramebuffer]

class mjtGain(_Enum):
    mjGAIN_FIXED: ClassVar[mjtGain]
    mjGAIN_AFFINE: ClassVar[mjtGain]
    mjGAIN_MUSCLE: ClassVar[mjtGain]

class mjtGeom(_Enum):
    mjGEOM_PLANE: ClassVar[mjtGeom]
    mjGEOM_SPHERE: ClassVar[mjtGeom]
    mjGEOM_CAPSULE: ClassVar[mjtGeom]
    mjGEOM_ELLIPSOID: ClassVar[mjtGeom]
    mjGEOM_CYLINDER: ClassVar[mjtGeom]
    mjGEOM_BOX: ClassVar[mjtGeom]
    mjGEOM_MESH: ClassVar[mjtGeom]
    mjNGEOMTYPES: ClassVar[mjtGeom]

class mjtIntegrator(_Enum):
    mjINT_DISCRETE: ClassVar[mjtIntegrator]
    mjINT_EULER: ClassVar[mjtIntegrator]
    mjINT_RK4: ClassVar[mjtIntegrator]
    mjINT_IMPLICIT: ClassVar[mjtIntegrator]
    mjINT_IMPLICITFAST: ClassVar[mjtIntegrator]

class mjtJoint(_Enum):
    mjJNT_FREE: ClassVar[mjtJoint]
    mjJNT_BALL: ClassVar[mjtJoint]
    mjJNT_SLIDE: ClassVar[mjtJoint]
    mjJNT_HINGE: ClassVar[mjtJoint]

class mjtObj(_Enum):
    mjOBJ_BODY: ClassVar[mjtObj]
    mjOBJ_JOINT: ClassVar[mjtObj]
    mjOBJ_DOF: ClassVar[mjtObj]
    mjOBJ_GEOM: ClassVar[mjtObj]
    mjOBJ_SITE: ClassVar[mjtObj]
    mjOBJ_PAIR: ClassVar[mjtObj]
    mjOBJ_EQUALITY: ClassVar[mjtObj]
    mjOBJ_TENDON: ClassVar[mjtObj]
    mjOBJ_ACTUATOR: ClassVar[mjtObj]
    mjOBJ_SENSOR: ClassVar[mjtObj]
    mjOBJ_NUMERIC: ClassVar[mjtObj]

class mjtRndFlag(_Enum):
    mjRND_SHADOW: ClassVar[mjtRndFlag]
    mjRND_REFLECTION: ClassVar[mjtRndFlag]

class mjtSensor(_Enum):
    mjSENS_E_KINETIC: ClassVar[mjtSensor]
    mjSENS_CLOCK: ClassVar[mjtSensor]
    mjSENS_PLUGIN: ClassVar[mjtSensor]
    mjSENS_USER: ClassVar[mjtSensor]

class mjtSolver(_Enum):
    mjSOL_PGS: ClassVar[mjtSolver]
    mjSOL_NEWTON: ClassVar[mjtSolver]

class mjtStage(_Enum):
    mjSTAGE_NONE: ClassVar[mjtStage]
    mjSTAGE_POS: ClassVar[mjtStage]
    mjSTAGE_VEL: ClassVar[mjtStage]
    mjSTAGE_ACC: ClassVar[mjtStage]

class mjtState(_Enum):
    mjSTATE_QPOS: ClassVar[mjtState]
    mjSTATE_QVEL: ClassVar[mjtState]
    mjSTATE_ACT: ClassVar[mjtState]
    mjSTATE_CTRL: ClassVar[mjtState]
    mjSTATE_QFRC_APPLIED: ClassVar[mjtState]
    mjSTATE_XFRC_APPLIED: ClassVar[mjtState]
    mjSTATE_MOCAP_POS: ClassVar[mjtState]
    mjSTATE_MOCAP_QUAT: ClassVar[mjtState]
    mjSTATE_FULLPHYSICS: ClassVar[mjtState]
    mjSTATE_INTEGRATION: ClassVar[mjtState]

class mjtTrn(_Enum):
    mjTRN_JOINT: ClassVar[mjtTrn]
    mjTRN_JOINTINPARENT: ClassVar[mjtTrn]
    mjTRN_SLIDERCRANK: ClassVar[mjtTrn]
    mjTRN_TENDON: ClassVar[mjtTrn]
    mjTRN_SITE: ClassVar[mjtTrn]

class mjtWrap(_Enum):
    mjWRAP_JOINT: ClassVar[mjtWrap]
    mjWRAP_SITE: ClassVar[mjtWrap]
    mjWRAP_SPHERE: ClassVar[mjtWrap]
    mjWRAP_CYLINDER: ClassVar[mjtWrap]

class MjOption:
    timestep: float
    gravity: _Floats
    density: float
    viscosity: float
    tolerance: float
    ccd_iterations: int
    ccd_tolerance: float
    iterations: int
    noslip_iterations: int
    disableflags: int
    enableflags: int
    disableactuator: int
    @property
    def cone(self) -> int: ...
    @property
    def integrator(self) -> int: ...
    @integrator.setter
    def integrator(self, value: SupportsInt) -> None: ...
    @property
    def solver(self) -> int: ...
    @solver.setter
    def solver(self, value: SupportsInt) -> None: ...

class MjVisual:
    class Quality:
        offsamples: int

    quality: Quality

class MjsBody:
    """A body of a specification; what `add_geom` takes are the attributes of a geom."""

    def add_geom(self, **attributes: object) -> object: ...

class MjSpec:
    @staticmethod
    def from_string(xml: str) -> MjSpec: ...
    @staticmethod
    def from_file(filename: str) -> MjSpec: ...
    worldbody: MjsBody
    def compile(self) -> MjModel: ...

class MjModel:
    nq: int
    nv: int
    nu: int
    na: int
    nactuator: int
    nbody: int
    nflex: int
    njnt: int
    ngeom: int
    nC: int
    nD: int
    nhistory: int
    nmocap: int
    nplugin: int
    neq: int
    flg_adhesion: int
    flg_surfacevel: int
    jnt_limited: _Integers
    nout: int
    ncam: int
    ntendon: int
    npluginstate: int
    opt: MjOption
    vis: MjVisual
    M_colind: _Integers
    M_rownnz: _Integers
    D_colind: _Integers
    D_rownnz: _Integers
    qpos0: _Floats
    qpos_spring: _Floats
    body_conaffinity: _Integers
    body_contype: _Integers
    body_weldid: _Integers
    body_mass: _Floats
    body_iquat: _Floats
    body_subtreemass: _Floats
    body_gravcomp: _Floats
    body_invweight0: _Floats
    body_rootid: _Integers
    body_dofnum: _Integers
    body_simple: NDArray[np.uint8]
    body_sameframe: NDArray[np.uint8]
    geom_sameframe: NDArray[np.uint8]
    site_sameframe: NDArray[np.uint8]
    jnt_stiffnesspoly: _Floats
    jnt_actgravcomp: _Booleans
    dof_bodyid: _Integers
    dof_M0: _Floats
    dof_invweight0: _Floats
    geom_friction: _Floats
    geom_priority: _Integers
    geom_rbound: _Floats
    geom_aabb: _Floats
    eq_obj1id: _Integers
    eq_obj2id: _Integers
    eq_objtype: _Integers
    tendon_invweight0: _Floats
    jnt_actfrclimited: _Booleans
    jnt_actfrcrange: _Floats
    jnt_type: _Integers
    jnt_qposadr: _Integers
    jnt_dofadr: _Integers
    jnt_stiffness: _Floats
    dof_damping: _Floats
    dof_jntid: _Integers
    dof_parentid: _Integers
    dof_frictionloss: _Floats
    geom_type: _Integers
    geom_bodyid: _Integers
    geom_contype: _Integers
    geom_conaffinity: _Integers
    geom_matid: _Integers
    geom_size: _Floats
    mat_texrepeat: _Singles
    sensor_delay: _Floats
    sensor_historyadr: _Integers
    sensor_interval: _Floats
    sensor_needstage: _Integers
    sensor_type: _Integers
    tendon_actfrclimited: _Booleans
    actuator_actadr: _Integers
    actuator_actlimited: _Booleans
    actuator_actnum: _Integers
    actuator_actrange: _Floats
    actuator_biastype: _Integers
    actuator_dynprm: _Floats
    actuator_dyntype: _Integers
    actuator_gainprm: _Floats
    actuator_gaintype: _Integers
    actuator_gear: _Floats
    actuator_group: _Integers
    actuator_plugin: _Integers
    actuator_trnid: _Integers
    actuator_trntype: _Integers
    actuator_ctrllimited: _Booleans
    actuator_ctrlrange: _Floats
    actuator_armature: _Floats
    actuator_damping: _Floats
    actuator_dampingpoly: _Floats
    dof_dampingpoly: _Floats
    body_parentid: _Integers
    exclude_signature: _Integers
    pair_geom1: _Integers
    pair_geom2: _Integers
    site_bodyid: _Integers
    eq_type: _Integers
    tendon_adr: _Integers
    tendon_num: _Integers
    wrap_type: _Integers
    wrap_objid: _Integers
    actuator_historyadr: _Integers
    geom_pos: _Floats
    site_pos: _Floats
    tendon_armature: _Floats
    pair_friction: _Floats
    body_jntnum: _Integers
    tendon_dampingpoly: _Floats
    tendon_stiffness: _Floats
    tendon_damping: _Floats
    wrap_prm: _Floats
    actuator_biasprm: _Floats
    actuator_forcelimited: _Booleans
    actuator_forcerange: _Floats
    @staticmethod
    def from_xml_string(xml: str, assets: Mapping[str, bytes] | None = None) -> MjModel: ...
    @staticmethod
    def from_binary_path(filename: str, assets: Mapping[str, bytes] | None = None) -> MjModel: ...
    @staticmethod
    def from_xml_path(filename: str, assets: Mapping[str, bytes] | None = None) -> MjModel: ...

class _Contacts:
    """The contacts of a state, a column each."""

    H: _Floats
    dim: _Integers
    dist: _Floats
    efc_address: _Integers
    geom: _Integers
    friction: _Floats
    frame: _Floats
    pos: _Floats

class MjData:
    def __init__(self, model: MjModel) -> None: ...
    time: float
    ncon: int
    nefc: int
    nf: int
    nJ: int
    parena: int
    efc_D: _Floats
    efc_J: _Floats
    efc_J_colind: _Integers
    efc_J_rowadr: _Integers
    efc_J_rownnz: _Integers
    efc_aref: _Floats
    efc_state: _Integers
    efc_type: _Integers
    efc_id: _Integers
    efc_KBIP: _Floats
    efc_force: _Floats
    efc_margin: _Floats
    efc_pos: _Floats
    qpos: _Floats
    qvel: _Floats
    act: _Floats
    act_dot: _Floats
    actuator_force: _Floats
    actuator_moment: _Floats
    moment_colind: _Integers
    moment_rowadr: _Integers
    moment_rownnz: _Integers
    ctrl: _Floats
    M: _Floats
    cdof: _Floats
    cinert: _Floats
    geom_xmat: _Floats
    cvel: _Floats
    cacc: _Floats
    xipos: _Floats
    xmat: _Floats
    ximat: _Floats
    subtree_com: _Floats
    qDeriv: _Floats
    qacc: _Floats
    qacc_warmstart: _Floats
    qfrc_actuator: _Floats
    qfrc_applied: _Floats
    qfrc_bias: _Floats
    qfrc_constraint: _Floats
    qfrc_inverse: _Floats
    qfrc_passive: _Floats
    xfrc_applied: _Floats
    contact: _Contacts

def mj_step(m: MjModel, d: MjData, nstep: int = 1) -> None: ...
def mj_forward(m: MjModel, d: MjData) -> None: ...
def mj_forwardSkip(m: MjModel, d: MjData, skipstage: int, skipsensor: int) -> None: ...
def mj_constraintUpdate(m: MjModel, d: MjData, jar: _Floats, cost: _Floats | None, flg_coneHessian: int) -> None: ...
def mj_saveModel(m: MjModel, filename: str | None, buffer: NDArray[np.uint8] | None) -> None: ...
def mj_sizeModel(m: MjModel) -> int: ...
def mj_solveM(m: MjModel, d: MjData, x: _Floats, y: _Floats) -> None: ...
def mj_fullM(m: MjModel, d: MjData, dst: _Floats) -> None: ...
def mj_setConst(m: MjModel, d: MjData) -> None: ...
def set_mjcb_passive(callback: Callable[[MjModel, MjData], None] | None) -> None: ...
def get_mjcb_passive() -> Callable[[MjModel, MjData], None] | None: ...
def mj_makeConstraint(m: MjModel, d: MjData) -> None: ...
def mj_referenceConstraint(m: MjModel, d: MjData) -> None: ...
def mj_rne(m: MjModel, d: MjData, flg_acc: int, result: _Floats) -> None: ...
def mj_normalizeQuat(m: MjModel, qpos: _Floats) -> None: ...
def mj_rnePostConstraint(m: MjModel, d: MjData) -> None: ...
def mj_fwdPosition(m: MjModel, d: MjData) -> None: ...
def mj_fwdVelocity(m: MjModel, d: MjData) -> None: ...
def mj_sensorPos(m: MjModel, d: MjData) -> None: ...
def mj_sensorVel(m: MjModel, d: MjData) -> None: ...
def mj_energyPos(m: MjModel, d: MjData) -> None: ...
def mj_energyVel(m: MjModel, d: MjData) -> None: ...
def mj_subtreeVel(m: MjModel, d: MjData) -> None: ...
def mj_kinematics(m: MjModel, d: MjData) -> None: ...
def mj_comPos(m: MjModel, d: MjData) -> None: ...
def mj_jacBody(m: MjModel, d: MjData, jacp: _Floats | None, jacr: _Floats | None, body: int) -> None: ...
def mj_jacBodyCom(m: MjModel, d: MjData, jacp: _Floats | None, jacr: _Floats | None, body: int) -> None: ...
def mj_jacGeom(m: MjModel, d: MjData, jacp: _Floats | None, jacr: _Floats | None, geom: int) -> None: ...
def mj_jacSite(m: MjModel, d: MjData, jacp: _Floats | None, jacr: _Floats | None, site: int) -> None: ...
def mj_jacSubtreeCom(m: MjModel, d: MjData, jacp: _Floats, body: int) -> None: ...
def mj_applyFT(
    m: MjModel, d: MjData, force: _Floats, torque: _Floats, point: _Floats, body: int, qfrc_target: _Floats
) -> None: ...
def mj_isSparse(m: MjModel) -> bool: ...
def mj_fwdActuation(m: MjModel, d: MjData) -> None: ...
def mj_inverse(m: MjModel, d: MjData) -> None: ...
def mj_inverseSkip(m: MjModel, d: MjData, skipstage: int, skipsensor: int) -> None: ...
def mjd_transitionFD(
    m: MjModel,
    d: MjData,
    eps: float,
    flg_centered: bool,
    A: _Floats | None,
    B: _Floats | None,
    C: _Floats | None,
    D: _Floats | None,
) -> None: ...
def mjd_inverseFD(
    m: MjModel,
    d: MjData,
    eps: float,
    flg_actuation: bool,
    DfDq: _Floats | None,
    DfDv: _Floats | None,
    DfDa: _Floats | None,
    DsDq: _Floats | None,
    DsDv: _Floats | None,
    DsDa: _Floats | None,
    DmDq: _Floats | None,
) -> None: ...
def mj_id2name(m: MjModel, type: int, id: int) -> str | None: ...
def mju_quat2Mat(res: _Floats, quat: _Floats) -> None: ...
def mju_sparse2dense(res: _Floats, mat: _Floats, rownnz: _Integers, rowadr: _Integers, colind: _Integers) -> None: ...
def mj_resetData(m: MjModel, d: MjData) -> None: ...
def mj_integratePos(m: MjModel, qpos: _Floats, qvel: _Floats, dt: float) -> None: ...
def mj_name2id(m: MjModel, type: int, name: str) -> int: ...
def mj_stateSize(m: MjModel, sig: SupportsInt) -> int: ...
def mj_getState(m: MjModel, d: MjData, state: _Floats, sig: SupportsInt) -> None: ...
def mj_setState(m: MjModel, d: MjData, state: _Floats, sig: SupportsInt) -> None: ...
def get_mju_user_warning() -> Callable[[str], None] | None: ...
def set_mju_user_warning(callback: Callable[[str], object] | None) -> None: ...

class MjvCamera:
    distance: float
    fixedcamid: int
    @property
    def type(self) -> int: ...
    @type.setter
    def type(self, value: SupportsInt) -> None: ...

class MjvOption: ...
class MjvPerturb: ...

class MjvScene:
    def __init__(self, model: MjModel, maxgeom: int) -> None: ...
    flags: NDArray[np.uint8]

class MjrContext:
    def __init__(self, model: MjModel, fontscale: SupportsIndex) -> None: ...
    def free(self) -> None: ...

class MjrRect:
    def __init__(self, left: int, bottom: int, width: int, height: int) -> None: ...

def mjv_defaultFreeCamera(m: MjModel, cam: MjvCamera) -> None: ...
def mjv_updateScene(
    m: MjModel,
    d: MjData,
    opt: MjvOption,
    pert: MjvPerturb | None,
    cam: MjvCamera,
    catmask: SupportsInt,
    scn: MjvScene,
) -> None: ...
def mjr_setBuffer(framebuffer: SupportsIndex, con: MjrContext) -> None: ...
def mjr_render(viewport: MjrRect, scn: MjvScene, con: MjrContext) -> None: ...
def mjr_readPixels(rgb: ArrayLike | None, depth: ArrayLike | None, viewport: MjrRect, con: MjrContext) -> None: ...
