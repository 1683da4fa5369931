"""What the parts of a model are called in messages."""

from collections.abc import Callable, Mapping, Sequence

import mujoco

from diffmaac.errors import DiffmaacError

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


def entry_of(index: int, slices: Mapping[str, slice], shapes: Mapping[str, Sequence[int]]) -> str:
    """What a number of a row is called, in which the fields have these `slices`."""
    name = next(name for name, own in slices.items() if own.start <= index < own.stop)
    return entry(name, int(index - slices[name].start), shapes[name])


def checked_fields(what: str, names: Sequence[str], check: Callable[[str], None]) -> tuple[str, ...]:
    """Names of fields that a user gave as `what`; `check` raises for one that cannot be had.

    Raises DiffmaacError for a text in place of a list, and for a field that is named twice.
    """
    if isinstance(names, str):
        raise DiffmaacError(f"{what} is the text {names!r}; expected a list of names, such as ('{names}',).")
    for name in names:
        check(name)
    if len(set(names)) < len(names):
        raise DiffmaacError(f"{what} names a field twice: {', '.join(names)}.")
    return tuple(names)
