"""Snapshots of an MjData against its arrays, copied one by one."""

import operator

import mujoco
import numpy as np
import pytest
from support.engine import ASSETS, contact_states

from diffmaac.physics.snapshots import Snapshots

FIELDS = ("cdof", "M", "qfrc_inverse", "qpos", "act", "geom_xmat", "moment_rownnz")
ARENA = ("efc_J", "efc_J_colind", "efc_KBIP", "efc_type", "efc_force", "contact.pos", "contact.geom", "contact.dim")


def hopper(jacobian: str = "auto") -> mujoco.MjModel:
    text = (ASSETS / "hopper.xml").read_text()
    return mujoco.MjModel.from_xml_string(text.replace("<option ", f'<option jacobian="{jacobian}" '))


def visit(model: mujoco.MjModel, snapshots: Snapshots, data: mujoco.MjData, n: int) -> list[dict[str, np.ndarray]]:
    """Takes n states, in and out of contact, and returns what the arrays were at each."""
    qpos, qvel, _, _ = contact_states(model, 5, n)
    qpos[::3, 1] += 5.0  # some without contacts
    arrays: list[dict[str, np.ndarray]] = []
    snapshots.begin(n)
    for row in range(n):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_inverse(model, data)
        snapshots.take(row)
        arrays.append({name: operator.attrgetter(name)(data).copy() for name in FIELDS + ARENA})
    return arrays


@pytest.mark.parametrize("jacobian", ["dense", "sparse"])
def test_views_are_the_arrays_of_all_states(jacobian: str) -> None:
    model = hopper(jacobian)
    assert mujoco.mj_isSparse(model) == (jacobian == "sparse")
    data = mujoco.MjData(model)
    snapshots = Snapshots(data, FIELDS, ARENA)
    for n in (40, 12, 60):  # less room than before, and more
        arrays = visit(model, snapshots, data, n)
        for name in FIELDS:
            np.testing.assert_array_equal(snapshots[name], [x[name] for x in arrays])
        groups = snapshots.groups()
        touching = [row for row, x in enumerate(arrays) if len(x["efc_type"]) + len(x["contact.dim"])]
        assert sorted(np.concatenate([group.states for group in groups])) == touching
        assert 0 < len(touching) < n
        assert len(groups) > 1
        for group in groups:
            for name in ARENA:
                np.testing.assert_array_equal(group[name], [arrays[row][name] for row in group.states])


def test_an_unknown_field_is_named() -> None:
    snapshots = Snapshots(mujoco.MjData(hopper()), FIELDS)
    with pytest.raises(KeyError, match="qacc"):
        snapshots["qacc"]


def test_no_states_have_empty_arrays() -> None:
    snapshots = Snapshots(mujoco.MjData(hopper()), FIELDS, ARENA)
    assert snapshots["cdof"].shape == (0, 6, 6)
    assert snapshots.groups() == []
