"""Which numbers of a model are to be found: 'body_mass[box]', 'geom_friction[floor, 0]', or a whole field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float, Int

from diffmaac.errors import DiffmaacError, unknown
from diffmaac.physics import ParameterSpace

_KINDS = mujoco.mjtObj
KINDS = {
    "body": (_KINDS.mjOBJ_BODY, "nbody"),
    "geom": (_KINDS.mjOBJ_GEOM, "ngeom"),
    "jnt": (_KINDS.mjOBJ_JOINT, "njnt"),
    "dof": (_KINDS.mjOBJ_JOINT, "njnt"),
    "qpos": (_KINDS.mjOBJ_JOINT, "njnt"),
    "site": (_KINDS.mjOBJ_SITE, "nsite"),
    "pair": (_KINDS.mjOBJ_PAIR, "npair"),
    "eq": (_KINDS.mjOBJ_EQUALITY, "neq"),
    "tendon": (_KINDS.mjOBJ_TENDON, "ntendon"),
    "actuator": (_KINDS.mjOBJ_ACTUATOR, "nu"),
}
"""Beginning of a field's name -> what its rows belong to, and the model's count of those."""
_FORM = re.compile(r"\s*([\w.]+)\s*(?:\[([^\]]*)\])?\s*")


@dataclass(frozen=True)
class Selection:
    """Numbers of a `ParameterSpace` and what they are called, with the bounds that they are to stay in."""

    space: ParameterSpace
    entries: Int[np.ndarray, " size"]
    names: tuple[str, ...]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]


def select(
    model: mujoco.MjModel, wanted: Sequence[str], bounds: Mapping[str, tuple[float, float]] | None = None
) -> Selection:
    """The numbers that are wanted. Raises DiffmaacError for what the model has not, or bounds that hold nothing."""
    if isinstance(wanted, str) or not wanted:
        raise DiffmaacError(f"parameters are {wanted!r}; expected a list of one or more, such as ['body_mass[box]'].")
    parsed = [_parsed(text) for text in wanted]
    space = ParameterSpace(model, tuple(dict.fromkeys(field for field, _ in parsed)))
    places: dict[int, str] = {}
    of_text: dict[str, list[int]] = {}
    for text, (field, index) in zip(wanted, parsed, strict=True):
        own = _entries(model, space, field, index)
        of_text[text.replace(" ", "")] = own
        places |= {i: text if len(own) == 1 else space.entry(i) for i in own}
    entries = np.array(list(places), int)
    low, high = space.low[entries].copy(), np.full(len(entries), np.inf)
    for name, (least, most) in (bounds or {}).items():
        if name.replace(" ", "") not in of_text:
            raise DiffmaacError(unknown("parameter in bounds", name, wanted))
        own = np.isin(entries, of_text[name.replace(" ", "")])
        low[own], high[own] = np.maximum(low[own], least), most
        start = space.values[entries][own]
        if not (least < most and (low[own] <= start).all() and (start <= most).all()):
            raise DiffmaacError(
                f"the bounds of {name} are {least:g} to {most:g}, and the model has {start[0]:g}; the first must be"
                " the smaller, and the model's value between them."
            )
    return Selection(space, entries, tuple(places.values()), low, high)


def _parsed(text: str) -> tuple[str, list[str] | None]:
    match = _FORM.fullmatch(text)
    if match is None:
        raise DiffmaacError(
            f"parameter {text!r} cannot be read; expected a field, 'body_mass', or numbers of it,"
            " 'body_mass[box]', 'geom_friction[floor, 0]'."
        )
    inside = match.group(2)
    return match.group(1), None if inside is None else [part.strip() for part in inside.split(",")]


def _entries(model: mujoco.MjModel, space: ParameterSpace, field: str, index: list[str] | None) -> list[int]:
    shape, start = space.shapes[field], space.slices[field].start
    numbers = np.arange(start, space.slices[field].stop).reshape(shape)
    if index is None:
        return numbers.ravel().tolist()
    rows = _rows(model, field, index[0], shape)
    if len(index) > len(shape):
        raise DiffmaacError(f"{field}[{', '.join(index)}] has {len(index)} indices; the field has the shape {shape}.")
    chosen = numbers[rows]
    if len(index) > 1:
        column = _number(field, index[1], shape[1])
        chosen = chosen[:, column]
    return chosen.ravel().tolist()


def _rows(model: mujoco.MjModel, field: str, text: str, shape: tuple[int, ...]) -> list[int]:
    owner = KINDS.get(field.split("_")[0])
    if owner is None or text.isdigit():
        return [_number(field, text, shape[0] if shape else 0)]
    kind, count = owner
    row = mujoco.mj_name2id(model, int(kind), text)
    if row < 0:
        word = kind.name.removeprefix("mjOBJ_").lower()
        raise DiffmaacError(unknown(f"{word} in {field}", text, _names(model, kind, getattr(model, count))))
    if field.startswith("dof"):
        return np.flatnonzero(model.dof_jntid == row).tolist()
    if field == "qpos_spring":
        ends = [*model.jnt_qposadr.tolist(), model.nq]
        return list(range(ends[row], ends[row + 1]))
    return [row]


def _number(field: str, text: str, count: int) -> int:
    if not text.isdigit() or int(text) >= count:
        raise DiffmaacError(f"{text!r} is no index into {field}; expected 0 to {count - 1}.")
    return int(text)


def _names(model: mujoco.MjModel, kind: mujoco.mjtObj, count: int) -> list[str]:
    return [name for i in range(count) if (name := mujoco.mj_id2name(model, int(kind), i))]
