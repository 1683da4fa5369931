"""Snapshots of an MjData against its arrays, copied one by one."""

import operator

import mujoco
import numpy as np
import pytest
from support.engine import ASSETS, contact_states

from diffmaac.physics import snapshots
from diffmaac.physics.inverse import InverseDynamics
from diffmaac.physics.snapshots import Snapshots

FIELDS = ("cdof", "M", "qfrc_inverse", "qpos", "act", "geom_xmat", "moment_rownnz")
ARENA = ("efc_J", "efc_J_colind", "efc_KBIP", "efc_type", "efc_force", "contact.pos", "contact.geom", "contact.dim")


def hopper(jacobian: str = "auto") -> mujoco.MjModel:
    text = (ASSETS / "hopper.xml").read_text()
    return mujoco.MjModel.from_xml_string(text.replace("<option ", f'<option jacobian="{jacobian}" '))


def visit(model: mujoco.MjModel, kept: Snapshots, data: mujoco.MjData, n: int) -> list[dict[str, np.ndarray]]:
    """Takes n states, in and out of contact, and returns what the arrays were at each."""
    qpos, qvel, _, _ = contact_states(model, 5, n)
    qpos[::3, 1] += 5.0  # some without contacts
    arrays: list[dict[str, np.ndarray]] = []
    kept.begin(n)
    for row in range(n):
        data.qpos[:], data.qvel[:] = qpos[row], qvel[row]
        mujoco.mj_inverse(model, data)
        kept.take(row)
        arrays.append({name: operator.attrgetter(name)(data).copy() for name in FIELDS + ARENA})
    return arrays


@pytest.mark.parametrize("jacobian", ["dense", "sparse"])
def test_views_are_the_arrays_of_all_states(jacobian: str) -> None:
    model = hopper(jacobian)
    assert mujoco.mj_isSparse(model) == (jacobian == "sparse")
    data = mujoco.MjData(model)
    kept = Snapshots(data, FIELDS, ARENA)
    for n in (40, 12, 60):  # less room than before, and more
        arrays = visit(model, kept, data, n)
        for name in FIELDS:
            np.testing.assert_array_equal(kept[name], [x[name] for x in arrays])
        groups = kept.groups()
        touching = [row for row, x in enumerate(arrays) if len(x["efc_type"]) + len(x["contact.dim"])]
        assert sorted(np.concatenate([group.states for group in groups])) == touching
        assert 0 < len(touching) < n
        assert len(groups) > 1
        for group in groups:
            for name in ARENA:
                np.testing.assert_array_equal(group[name], [arrays[row][name] for row in group.states])


DROPPED = """
<mujoco><option jacobian="{jacobian}"/><worldbody><geom type="plane" size="5 5 1"/>
  <body name="a"><geom size=".1" contype="0" conaffinity="0"/></body>
  <body name="b"><geom size=".1" contype="0" conaffinity="0"/></body>
  <body pos="0 0 {height}"><joint type="slide" axis="0 0 1"/><joint axis="0 1 0"/>
    <geom size=".1" gap=".2"/></body></worldbody>
  <equality><connect body1="a" body2="b" anchor="0 0 0"/></equality></mujoco>"""


@pytest.mark.parametrize("height", [0.15, 0.095])
@pytest.mark.parametrize("jacobian", ["dense", "sparse"])
def test_rows_without_an_effect(height: float, jacobian: str) -> None:
    """MuJoCo makes room for the rows of an equality between fixed bodies, and drops them."""
    model = mujoco.MjModel.from_xml_string(DROPPED.format(height=height, jacobian=jacobian))
    inputs = (np.zeros((3, 2)), 0.1 * np.ones((3, 2)), np.zeros((3, 0)), np.zeros((3, 0)))
    mujoco.mj_forward(model, data := mujoco.MjData(model))
    assert data.ncon == 1 and (data.nefc > 0) == (height < 0.1)
    if jacobian == "dense":
        assert len(data.efc_J) > data.nefc * model.nv
    with_equality = InverseDynamics(model).linearize(*inputs, np.zeros((3, 2)))
    without = mujoco.MjModel.from_xml_string(
        DROPPED.format(height=height, jacobian=jacobian).replace("<connect ", '<connect active="false" ')
    )
    expected = InverseDynamics(without).linearize(*inputs, np.zeros((3, 2)))
    for ours, theirs in ((with_equality.qpos, expected.qpos), (with_equality.qacc, expected.qacc)):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def test_layouts_of_an_arena_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST_LAYOUTS", 1)
    model = hopper()
    kept = Snapshots(data := mujoco.MjData(model), FIELDS, ARENA)
    visit(model, kept, data, 40)
    assert len(kept._layouts) > 1
    kept.begin(0)
    assert len(kept._layouts) == 0


def test_an_unknown_field_is_named() -> None:
    kept = Snapshots(mujoco.MjData(hopper()), FIELDS)
    with pytest.raises(KeyError, match="qacc"):
        kept["qacc"]


def test_no_states_have_empty_arrays() -> None:
    kept = Snapshots(mujoco.MjData(hopper()), FIELDS, ARENA)
    assert kept["cdof"].shape == (0, 6, 6)
    assert kept.groups() == []
