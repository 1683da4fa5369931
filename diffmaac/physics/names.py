"""What the parts of a model are called in messages."""

from collections.abc import Sequence

import mujoco

_POSITION = {
    mujoco.mjtJoint.mjJNT_FREE: ("x", "y", "z", "qw", "qx", "qy", "qz"),
    mujoco.mjtJoint.mjJNT_BALL: ("qw", "qx", "qy", "qz"),
}
_VELOCITY = {
    mujoco.mjtJoint.mjJNT_FREE: ("vx", "vy", "vz", "wx", "wy", "wz"),
    mujoco.mjtJoint.mjJNT_BALL: ("wx", "wy", "wz"),
}


def part(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """How a part is called: joint 'knee', or joint 3 where it has no name."""
    word = kind.name.removeprefix("mjOBJ_").lower()
    name = mujoco.mj_id2name(model, int(kind), index)
    return f"{word} '{name}'" if name else f"{word} {index}"


def state_names(model: mujoco.MjModel) -> list[str]:
    """The coordinates of (qpos, qvel, act): nq + nv + na names such as "qvel of joint 'root' (wx)"."""
    names: list[str] = []
    for vector, parts in (("qpos", _POSITION), ("qvel", _VELOCITY)):
        for joint in range(model.njnt):
            whose = f"{vector} of {part(model, mujoco.mjtObj.mjOBJ_JOINT, joint)}"
            components = parts.get(mujoco.mjtJoint(model.jnt_type[joint]))
            names += [f"{whose} ({component})" for component in components] if components else [whose]
    return names + [f"act {index}" for index in range(model.na)]


def entry(name: str, index: int, shape: Sequence[int]) -> str:
    """What a number of a field is called, by its index in the field's numbers in a row: body_mass[2], xpos[1, 0]."""
    place = list[int]()
    for width in reversed(shape):
        place.insert(0, index % width)
        index //= width
    return f"{name}[{', '.join(map(str, place))}]" if place else name
