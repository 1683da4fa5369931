"""What a step can return beside the state: fields of `MjData`, when MuJoCo computes them, and why others cannot."""

import mujoco
import numpy as np

from diffmaac.errors import DiffmaacError, unknown
from diffmaac.physics.unsupported import UnsupportedModel

STATES = ("qpos", "qvel", "act")
"""Of these a step has the values and the derivatives itself."""
POSITION, VELOCITY, ACCELERATION = (
    int(stage) for stage in (mujoco.mjtStage.mjSTAGE_POS, mujoco.mjtStage.mjSTAGE_VEL, mujoco.mjtStage.mjSTAGE_ACC)
)
_STAGES: tuple[tuple[int, str], ...] = (
    (POSITION, "xpos xquat xmat xipos ximat xanchor xaxis geom_xpos geom_xmat site_xpos site_xmat cam_xpos cam_xmat"),
    (POSITION, "subtree_com cinert ten_length actuator_length flexvert_xpos"),
    (VELOCITY, "cvel ten_velocity actuator_velocity subtree_linvel subtree_angmom energy"),
    (VELOCITY, "qfrc_bias qfrc_passive qfrc_spring qfrc_damper qfrc_gravcomp qfrc_fluid"),
    (ACCELERATION, "act_dot actuator_force qfrc_actuator qfrc_smooth qfrc_constraint qacc qacc_smooth"),
    (ACCELERATION, "cacc cfrc_int cfrc_ext sensordata"),
)
OUTPUTS = {name: stage for stage, names in _STAGES for name in names.split()}
"""Name -> the stage of the forward dynamics that computes it, at the latest; `sensordata` by its sensors."""
INPUTS = ("ctrl", "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
_PREFIXES = {
    "efc_": "its size changes with the contacts",
    "contact": "its size changes with the contacts",
    "iefc_": "its size changes with the contacts",
    "solver": "it tells how the solver worked",
}
_NO_FUNCTION = {
    int(mujoco.mjtSensor.mjSENS_E_KINETIC): "is made before MuJoCo has read the velocities (the output energy has it)",
    int(mujoco.mjtSensor.mjSENS_CLOCK): "shows the time, which is no part of the state (each step begins at 0)",
    int(mujoco.mjtSensor.mjSENS_PLUGIN): "is made by a plugin, which may keep a state of its own",
    int(mujoco.mjtSensor.mjSENS_USER): "is made by a callback",
}


def check_output(model: mujoco.MjModel, name: str) -> None:
    """Raises DiffmaacError where a step cannot return a field, and says why."""
    if name not in OUTPUTS and name not in STATES:
        raise DiffmaacError(_why_not(model, name))
    if name == "sensordata":
        _check_sensors(model)
    if _value(mujoco.MjData(model), name).size == 0:
        raise DiffmaacError(f"the output {name} is empty in this model, which has nothing of that kind.")


def stage_of(model: mujoco.MjModel, name: str) -> int:
    """The stage that an output is there after."""
    if name == "sensordata":
        return max(POSITION, int(model.sensor_needstage.max(initial=0)))
    return OUTPUTS[name]


def _value(data: mujoco.MjData, name: str) -> np.ndarray:
    return np.asarray(getattr(data, name))


def _check_sensors(model: mujoco.MjModel) -> None:
    timed = (model.sensor_delay > 0) | (model.sensor_interval[:, 0] > 0) | (model.sensor_historyadr >= 0)
    for sensor, kind in enumerate(map(int, model.sensor_type)):
        why = "has a delay or an interval, so that it shows the past" if timed[sensor] else _NO_FUNCTION.get(kind)
        if why:
            label = mujoco.mj_id2name(model, int(mujoco.mjtObj.mjOBJ_SENSOR), sensor) or str(sensor)
            raise UnsupportedModel(
                f"the output sensordata has no gradient in this model: sensor '{label}' {why}. Take it out of the MJCF,"
                " or name other outputs."
            )


def _why_not(model: mujoco.MjModel, name: str) -> str:
    allowed = f" Outputs are: {', '.join((*STATES, *OUTPUTS))}."
    if name in INPUTS:
        return f"the output {name} is an input of the step, which leaves it as it is.{allowed}"
    for prefix, why in _PREFIXES.items():
        if name.startswith(prefix):
            return f"the output {name} cannot be had: {why}.{allowed}"
    value = None if name.startswith("_") else getattr(mujoco.MjData(model), name, None)
    if isinstance(value, (int, np.ndarray)) and np.asarray(value).dtype.kind in "iub":
        return f"the output {name} has no gradient: it holds integers (indices, counts or switches).{allowed}"
    if isinstance(value, (float, np.ndarray)):
        return f"the output {name} cannot be had: it is scratch of the engine's own algorithms.{allowed}"
    return unknown("output", name, (*STATES, *OUTPUTS))
