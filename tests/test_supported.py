"""What the compiled step has: each field of MjModel and MjOption has its place, and what is absent is refused by name.

The C engine's value is the right answer, of every feature that is not refused.
"""

import fnmatch

import jax
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from support.engine import fast_compiler_options, load, make_case, relative_errors
from support.zoo import ABSENT, ALLOWED, EVERYTHING, WORLDS, states

from diffmaac.physics import Engine, UnsupportedModel, batched_control_step
from diffmaac.physics.engine import converged
from diffmaac.physics.fields import IDLE, OPTIONS_IDLE, OPTIONS_READ, OPTIONS_REFUSED, READ, REFUSED
from diffmaac.physics.pairs import touching_pairs
from diffmaac.physics.supported import (
    IDLE_DISABLE_FLAGS,
    IDLE_ENABLE_FLAGS,
    READ_DISABLE_FLAGS,
    check_supported,
)

TOLERANCE = 1e-8
"""The engine's solver stops up to 1e-9 short of its optimum where contacts slide on elliptic cones."""


def fields(owner: object) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_") and not callable(getattr(owner, name))}


def test_every_field_of_a_model_is_read_or_idle_or_refused() -> None:
    """A new version's field fails here: find out what it does, and give it its place in `physics/fields.py`."""
    known = fields(mujoco.MjModel.from_xml_string("<mujoco/>"))
    idle = {name for pattern in IDLE for name in fnmatch.filter(known, pattern)}
    assert known == READ | idle | set(REFUSED)
    assert not READ & idle and not READ & set(REFUSED) and not idle & set(REFUSED)
    assert all(fnmatch.filter(known, pattern) for pattern in IDLE)


def test_every_option_is_read_or_idle_or_refused() -> None:
    known = fields(mujoco.MjModel.from_xml_string("<mujoco/>").opt)
    assert sorted(known) == sorted(OPTIONS_READ + OPTIONS_IDLE + OPTIONS_REFUSED)


def test_what_is_read_is_known_to_mjx() -> None:
    model = mjx.put_model(mujoco.MjModel.from_xml_string("<mujoco/>"), impl="jax")
    assert [name for name in READ if not hasattr(model, name)] == []
    assert [name for name in OPTIONS_READ if not hasattr(model.opt, name)] == []


@pytest.mark.parametrize("field", REFUSED)
def test_a_field_that_is_not_at_its_default_is_refused(field: str) -> None:
    model = load(EVERYTHING, "Euler")
    check_supported(model)
    values = getattr(model, field)
    assert (values == REFUSED[field].default).all() and len(values)
    values[-1] = REFUSED[field].default + 1
    with pytest.raises(
        UnsupportedModel, match=rf"no {REFUSED[field].attribute} \({field}\) of \w+ '?\w+'?.*gradient=auto"
    ):
        check_supported(model)


def flags(kind: type[mujoco.mjtDisableBit] | type[mujoco.mjtEnableBit]) -> dict[str, int]:
    names = [name for name in dir(kind) if name.startswith(("mjDSBL_", "mjENBL_"))]
    return {name.split("_")[1].lower(): int(getattr(kind, name)) for name in names}


@pytest.mark.parametrize("name", flags(mujoco.mjtDisableBit))
def test_disable_flags_are_read_or_idle_or_refused(name: str) -> None:
    model = load(EVERYTHING, "Euler")
    model.opt.disableflags = flags(mujoco.mjtDisableBit)[name]
    if name in IDLE_DISABLE_FLAGS + READ_DISABLE_FLAGS:
        check_supported(model)
    else:
        with pytest.raises(UnsupportedModel, match=f'<flag {name}="disable"/>'):
            check_supported(model)


@pytest.mark.parametrize("name", flags(mujoco.mjtEnableBit))
def test_enable_flags_are_idle_or_refused(name: str) -> None:
    model = load(EVERYTHING, "Euler")
    model.opt.enableflags = flags(mujoco.mjtEnableBit)[name]
    if name in IDLE_ENABLE_FLAGS:
        check_supported(model)
    else:
        with pytest.raises(UnsupportedModel, match=f'<flag {name}="enable"/>'):
            check_supported(model)


@pytest.mark.parametrize("name", ABSENT)
def test_what_the_compiled_step_has_not_is_refused_by_name(name: str) -> None:
    text, message = ABSENT[name]
    with pytest.raises(UnsupportedModel, match=message):
        batched_control_step(mujoco.MjModel.from_xml_string(text), 1)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_does_not_matter_is_not_refused(name: str) -> None:
    check_supported(mujoco.MjModel.from_xml_string(ALLOWED[name]))


@pytest.mark.parametrize("name", WORLDS)
def test_the_step_is_the_c_engines(name: str) -> None:
    model = mujoco.MjModel.from_xml_string(WORLDS[name])
    inputs = states(model)
    for value, expected in zip(value_of(model, inputs), Engine(model, 2).step(*inputs), strict=True):
        np.testing.assert_allclose(value, expected, rtol=TOLERANCE, atol=TOLERANCE)


def value_of(model: mujoco.MjModel, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    step = jax.jit(batched_control_step(model, 2), compiler_options=fast_compiler_options())
    with jax.enable_x64(True):
        return tuple(map(np.asarray, step(*inputs)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_gradient_is_that_of_central_differences(name: str) -> None:
    """Of the engine with a solver that goes to the end: what the models' own leave is in the differences."""
    model = converged(mujoco.MjModel.from_xml_string(WORLDS[name]))
    case = make_case(model, 2, states(model))
    assert np.median(relative_errors(case)) < 1e-6


def test_pairs_that_can_touch() -> None:
    """The engine's own list: contacts of geoms that all overlap."""
    text = """<mujoco><worldbody><geom name="f" type="plane" size="1 1 1"/><geom size=".1"/>
      <body name="a"><freejoint/><geom size=".1"/><geom size=".1" contype="0"/><geom size=".1" conaffinity="2"/>
        <body name="b"><joint/><geom size=".1"/><body name="c"><joint/><geom size=".1"/>
          <body name="d"><geom size=".1"/></body></body></body></body>
      <body name="e"><joint/><geom size=".1"/></body></worldbody>
      <contact><exclude body1="a" body2="e"/><pair geom1="f" geom2="f"/></contact></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text.replace('<pair geom1="f" geom2="f"/>', ""))
    for disabled in (0, int(mujoco.mjtDisableBit.mjDSBL_FILTERPARENT)):
        model.opt.disableflags = disabled
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        found = {tuple(sorted(map(int, pair))) for pair in data.contact.geom}
        assert {tuple(sorted(pair)) for pair in touching_pairs(model)} == found
