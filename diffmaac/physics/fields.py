"""What becomes of each field of `MjModel` and `MjOption` in the compiled step: read, refused, or without effect.

`tests/test_supported.py` goes through the fields of the installed MuJoCo: one that is in none of these lists fails it.
"""

from typing import NamedTuple

import mujoco

_WHOLE = "njnt nbody ngeom nsite nu na nq nv neq ntendon nwrap npair nexclude nhfield nmesh nmocap ngravcomp"
_BODY = (
    "body_parentid body_rootid body_weldid body_mocapid body_dofnum body_dofadr body_treeid body_geomnum body_geomadr"
    " body_pos body_quat body_ipos body_iquat body_mass body_subtreemass body_inertia body_invweight0 body_gravcomp"
)
_JOINT = (
    "jnt_type jnt_qposadr jnt_dofadr jnt_bodyid jnt_limited jnt_actfrclimited jnt_actgravcomp jnt_solref jnt_solimp"
    " jnt_pos jnt_axis jnt_stiffness jnt_range jnt_actfrcrange jnt_margin qpos0 qpos_spring"
)
_DOF = (
    "dof_bodyid dof_jntid dof_parentid dof_treeid dof_solref dof_solimp dof_frictionloss dof_armature dof_damping"
    " dof_invweight0 M_rownnz M_rowadr M_colind"
)
_GEOM = (
    "geom_type geom_contype geom_conaffinity geom_condim geom_bodyid geom_dataid geom_priority geom_solmix geom_solref"
    " geom_solimp geom_size geom_rbound geom_pos geom_quat geom_friction geom_margin"
    " pair_dim pair_geom1 pair_geom2 pair_solref pair_solreffriction pair_solimp pair_margin pair_friction"
    " exclude_signature site_bodyid site_pos site_quat"
)
_EQUALITY = "eq_type eq_obj1id eq_obj2id eq_objtype eq_active0 eq_solref eq_solimp eq_data"
_TENDON = (
    "tendon_adr tendon_num tendon_limited tendon_actfrclimited tendon_solref_lim tendon_solimp_lim tendon_solref_fri"
    " tendon_solimp_fri tendon_range tendon_actfrcrange tendon_margin tendon_stiffness tendon_damping tendon_armature"
    " tendon_frictionloss tendon_lengthspring tendon_length0 tendon_invweight0 wrap_type wrap_objid wrap_prm"
)
_ACTUATOR = (
    "actuator_trntype actuator_dyntype actuator_gaintype actuator_biastype actuator_trnid actuator_actadr"
    " actuator_actnum actuator_ctrllimited actuator_forcelimited actuator_actlimited actuator_dynprm actuator_gainprm"
    " actuator_biasprm actuator_ctrlrange actuator_forcerange actuator_actrange actuator_gear actuator_acc0"
    " actuator_lengthrange"
)
READ = frozenset(f"{_WHOLE} {_BODY} {_JOINT} {_DOF} {_GEOM} {_EQUALITY} {_TENDON} {_ACTUATOR} opt flg_gravcomp".split())
"""Fields that the compiled step reads: those of `mjx.Model`. Some of their values are refused, in `supported`."""

_NAMES = "names* name_* text_* tuple_* paths *_pathadr signature"
_LOOKS = "vis stat mat_* tex_* light_* cam_* skin_* *_rgba *_matid *_group tendon_width flex_*texcoord* mesh_*texcoord*"
_NOTES = "sensor_* key_* *_user site_size site_type site_dataid site_sameframe geom_aabb geom_sameframe body_sameframe"
_SIZES = (
    "ntree nB nC nD nJfe nJfv nJmom nJten nM nactuator narena nbuffer nbvh nbvhdynamic nbvhstatic ncam nconmax nefm0L"
    " nefm0dof nefmCvert nemax nflex nflexbending nflexedge nflexelem nflexelemdata nflexelemedge nflexnode"
    " nflexshelldata nflexstiffness nflextexcoord nflexvert nhfielddata nhistory njmax nkey nlight nmat nmeshdegmax"
    " nmeshface nmeshgraph nmeshnormal nmeshpoly nmeshpolymap nmeshpolyvert nmeshtexcoord nmeshvert nnames"
    " nnames_map nnumeric nnumericdata noct nout npaths nplugin npluginattr npluginstate npolygonmax nsensor"
    " nsensordata nskin nskinbone nskinbonevert nskinface nskintexvert nskinvert ntex ntexdata ntext ntextdata"
    " ntuple ntupledata nuser_actuator nuser_body nuser_cam nuser_geom nuser_jnt nuser_sensor nuser_site"
    " nuser_tendon nuserdata"
)
_SPARSITY = "B_* D_* map?2? ten_J_* *edge_J_* *vert_J_* body_simple dof_simplenum dof_Madr dof_M0 body_jnt*"
_SEARCH = "*bvh* oct_* mesh_oct* body_contype body_conaffinity body_margin"
_SLEEP = "tree_* dof_length tendon_tree* jnt_actuatorid tendon_actuatorid"
"""Who sleeps, and with whom: the flag is refused."""
_SHAPES = "mesh_* hfield_* geom_plugin plugin*"
"""Contacts of meshes, height fields and signed distance functions are refused, plugins of other parts by their own."""
_OTHERS = "flex_* flexedge_* flexvert_* efm0_* efmC_* actuator_cranklength actuator_length0 actuator_ctrlspec"
"""Flexes, the integrator "discrete", and the types of actuators that read these are refused."""
_ADDRESSES = "actuator_ctrladr actuator_outadr actuator_historyadr numeric_* flg_adhesion flg_surfacevel pair_signature"
"""Follow from fields that are refused where they are not at their default."""
IDLE = tuple(
    f"{_NAMES} {_LOOKS} {_NOTES} {_SIZES} {_SPARSITY} {_SEARCH} {_SLEEP} {_SHAPES} {_OTHERS} {_ADDRESSES}".split()
)
"""Patterns of the fields on which no motion depends, beside what is refused."""


class Absent(NamedTuple):
    """A feature that the compiled step has not."""

    kind: mujoco.mjtObj
    attribute: str
    """In MJCF."""
    default: float = 0.0


_JOINTS, _TENDONS, _ACTUATORS = mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtObj.mjOBJ_TENDON, mujoco.mjtObj.mjOBJ_ACTUATOR
_GEOMS, _PAIRS, _BODIES = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_PAIR, mujoco.mjtObj.mjOBJ_BODY
REFUSED = {
    "jnt_stiffnesspoly": Absent(_JOINTS, "stiffness of higher order"),
    "dof_dampingpoly": Absent(mujoco.mjtObj.mjOBJ_DOF, "damping of higher order"),
    "tendon_stiffnesspoly": Absent(_TENDONS, "stiffness of higher order"),
    "tendon_dampingpoly": Absent(_TENDONS, "damping of higher order"),
    "actuator_damping": Absent(_ACTUATORS, "damping"),
    "actuator_dampingpoly": Absent(_ACTUATORS, "damping of higher order"),
    "actuator_armature": Absent(_ACTUATORS, "armature"),
    "actuator_delay": Absent(_ACTUATORS, "delay"),
    "actuator_history": Absent(_ACTUATORS, "nsample"),
    "actuator_actearly": Absent(_ACTUATORS, "actearly"),
    "actuator_plugin": Absent(_ACTUATORS, "plugin", -1.0),
    "actuator_ctrlnum": Absent(_ACTUATORS, "several controls", 1.0),
    "actuator_outnum": Absent(_ACTUATORS, "several forces", 1.0),
    "body_plugin": Absent(_BODIES, "plugin", -1.0),
    "geom_adhesion": Absent(_GEOMS, "adhesion"),
    "geom_surfacevel": Absent(_GEOMS, "surfacevel"),
    "geom_gap": Absent(_GEOMS, "gap"),
    "geom_fluid": Absent(_GEOMS, "fluidshape"),
    "pair_adhesion": Absent(_PAIRS, "adhesion"),
    "pair_gap": Absent(_PAIRS, "gap"),
}
"""Fields that must be at their default."""

OPTIONS_READ = ("timestep", "gravity", "density", "viscosity", "wind", "impratio", "cone", "integrator")
OPTIONS_IDLE = (
    *("iterations", "ls_iterations", "solver", "tolerance", "ls_tolerance", "jacobian", "noslip_tolerance"),
    *("ccd_iterations", "ccd_tolerance", "sdf_initpoints", "sdf_iterations", "sleep_tolerance", "magnetic"),
    *("o_friction", "o_margin", "o_solimp", "o_solref"),
)
"""The problem is solved to its optimum here, whatever the solver; sleep, overrides and signed distances are refused."""
OPTIONS_REFUSED = ("disableactuator", "disableflags", "enableflags", "noslip_iterations")
"""In part, by `supported`."""
