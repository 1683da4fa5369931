"""MJCFs that went wrong: elements and numbers of valid ones changed, or their bytes."""

import copy
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import hypothesis.strategies as st

ARM = """<mujoco><option timestep="0.01"/><default><geom density="500"/></default>
  <worldbody><light pos="0 0 2"/><geom name="floor" type="plane" size="1 1 0.1"/>
    <body name="upper" pos="0 0 0.3"><joint name="hinge" type="hinge" axis="0 1 0" damping="0.1" range="-90 90"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02" mass="1"/>
      <body name="lower" pos="0 0 -0.2"><joint name="elbow" type="slide" axis="0 0 1" stiffness="5"/>
        <geom type="sphere" size="0.05" solref="0.02 1"/><site name="tip" pos="0 0 -0.05"/></body></body></worldbody>
  <actuator><motor joint="hinge" gear="1" ctrlrange="-1 1"/><motor joint="elbow" ctrlrange="-1 1"/></actuator>
  <sensor><framepos objtype="site" objname="tip"/></sensor><keyframe><key qpos="0.1 0"/></keyframe></mujoco>"""
BALL = """<mujoco><option integrator="implicitfast" cone="elliptic"/><worldbody><geom type="plane" size="5 5 0.1"/>
  <body pos="0 0 0.3"><freejoint/><geom type="box" size="0.1 0.15 0.2" mass="1" condim="6"/></body>
  <body pos="0.6 0 0.2"><joint type="ball"/><geom type="sphere" size="0.1" mass="0.5"/></body></worldbody></mujoco>"""

NUMBERS = ("nan", "inf", "-inf", "1e300", "-1e300", "1e-300", "1e12", "-1", "0", "", "1 2 3 4 5 6 7 8 9", "99999999999")
WORDS = (*NUMBERS, "x", "true", "nan nan nan", "1e300 0 0", "hinge", "floor", "mesh", "é", "0 0 0 0", "2147483647")
ATTRIBUTES = (
    *("timestep", "gravity", "integrator", "solver", "iterations", "size", "pos", "quat", "euler", "axis", "range"),
    *("mass", "density", "type", "name", "class", "mesh", "material", "joint", "gear", "ctrlrange", "forcerange"),
    *("damping", "armature", "stiffness", "springref", "frictionloss", "friction", "solref", "solimp", "margin", "gap"),
    *(
        "condim",
        "contype",
        "fromto",
        "ctrllimited",
        "qpos",
        "ctrl",
        "mocap",
        "no_such_attribute",
        "childclass",
        "inertiafromgeom",
    ),
)
ELEMENTS = (
    '<include file="no_such_file.xml"/>',
    '<include file="m.xml"/>',
    '<include file="/"/>',
    '<asset><mesh name="m" file="no_such_mesh.stl"/></asset>',
    '<asset><texture name="t" file="m.xml" type="2d"/></asset>',
    '<asset><hfield name="h" nrow="3" ncol="3" size="1 1 1 1" file="m.xml"/></asset>',
    '<asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0"/></asset>',
    '<asset><model name="other" file="no_such_model.xml"/></asset>',
    '<size memory="1e300"/>',
    '<size memory="100"/>',
    '<size nuserdata="-1"/>',
    '<size nuser_body="-5"/>',
    '<option timestep="0"/>',
    '<option noslip_iterations="3"/>',
    '<option integrator="implicit"/>',
    '<option density="1e300" wind="1e300 0 0"/>',
    '<option gravity="1e300 0 0"/>',
    '<option><flag warmstart="maybe"/></option>',
    '<compiler autolimits="false"/>',
    '<compiler angle="turns"/>',
    '<compiler balanceinertia="true" boundmass="nan"/>',
    '<visual><global offwidth="-1"/></visual>',
    '<default class="x"><geom/></default>',
    '<equality><joint joint1="hinge" joint2="hinge"/></equality>',
    '<equality><connect body1="upper" body2="lower" anchor="nan 0 0"/></equality>',
    '<contact><pair geom1="floor" geom2="floor"/></contact>',
    '<contact><exclude body1="upper" body2="nobody"/></contact>',
    '<tendon><fixed name="t"><joint joint="hinge" coef="1e300"/></fixed></tendon>',
    '<actuator><general joint="hinge" dyntype="integrator" ctrlrange="-1 1"/></actuator>',
    '<actuator><motor joint="hinge" ctrlrange="1 -1"/></actuator>',
    '<actuator><plugin joint="hinge" plugin="no.such.plugin"/></actuator>',
    '<extension><plugin plugin="no.such.plugin"/></extension>',
    '<keyframe><key qpos="nan nan" time="nan"/></keyframe>',
    '<keyframe><key qpos="0 0 0 0 0"/></keyframe>',
    '<custom><numeric name="n" size="-1"/></custom>',
    "<deformable><flex name='f' dim='2'/></deformable>",
    "<worldbody><flexcomp name='f' type='grid' count='3 3 1' spacing='.1 .1 .1' dim='2' mass='1'/></worldbody>",
    "<worldbody><body><freejoint/></body></worldbody>",
    "<worldbody><body mocap='true'><joint/></body></worldbody>",
    "<worldbody><composite type='cable' count='-1 1 1'/></worldbody>",
    "<worldbody><replicate count='-3'><geom size='1'/></replicate></worldbody>",
    "<worldbody><frame pos='nan 0 0'><body><joint/><geom size='1'/></body></frame></worldbody>",
    "<worldbody><geom type='mesh' mesh='m'/></worldbody>",
    "<worldbody><geom type='sdf' size='1'/></worldbody>",
    "<worldbody><body><joint/></body></worldbody>",
    "<sensor><touch site='no'/></sensor>",
    "<no_such_element/>",
)
ENTITIES = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(8))
WHOLE: tuple[bytes, ...] = (
    *(
        b"",
        b" ",
        b"<",
        b"<mujoco",
        b"<mujoco/>",
        b"<mujoco></mujoco>",
        b"<urdf/>",
        b"<robot name='x'/>",
        b"{}",
        b"\x00" * 64,
    ),
    *(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"\xff\xfe" + ARM.encode("utf-16-le"), b"\xef\xbb\xbf" + ARM.encode()),
    b"<?xml version='1.0' encoding='latin-1'?>" + ARM.replace("upper", "\xe9").encode("latin-1"),
    f'<!DOCTYPE x [<!ENTITY e0 "x">{ENTITIES}]><mujoco model="&e8;"/>'.encode(),
    b"<mujoco>" + b"<worldbody>" * 3000,
    b"<mujoco><worldbody>" + b"<body>" * 200 + b"</body>" * 200 + b"</worldbody></mujoco>",
    ARM.replace("<mujoco>", "<mujoco>" + "<!-- x -->" * 5000).encode(),
)
"""What is no MJCF at all, or one of another kind."""

Change = Callable[[ElementTree.Element], None]


def models() -> st.SearchStrategy[bytes]:
    """The bytes of an MJCF file that may be good for nothing."""
    base = st.sampled_from([ARM, ARM, BALL])
    changed = st.builds(_changed, base, st.lists(st.one_of(_of_elements(), _of_attributes()), min_size=1, max_size=2))
    damaged = st.builds(_damaged, base, st.integers(0, 10**6), st.integers(0, 255), st.booleans())
    return st.one_of(changed, changed, changed, damaged, st.sampled_from(WHOLE))


def _changed(text: str, changes: list[Change]) -> bytes:
    root = ElementTree.fromstring(text)
    for change in changes:
        change(root)
    return ElementTree.tostring(root)


def _damaged(text: str, place: int, byte: int, cut: bool) -> bytes:
    """Cut off, or with one byte replaced."""
    content, at = text.encode(), place % len(text)
    return content[:at] if cut else content[:at] + bytes([byte]) + content[at + 1 :]


def _element(root: ElementTree.Element, which: int) -> ElementTree.Element:
    every = list(root.iter())
    return every[which % len(every)]


def _of_elements() -> st.SearchStrategy[Change]:
    def change(which: int, how: str, new: str) -> Change:
        def apply(root: ElementTree.Element) -> None:
            element = _element(root, which)
            if how == "insert":
                root.append(ElementTree.fromstring(new))
                return
            for parent in root.iter():
                if element in list(parent):
                    if how == "delete":
                        parent.remove(element)
                    elif how == "double":
                        parent.append(copy.deepcopy(element))
                    else:
                        element.tag = how
                    return

        return apply

    how = st.sampled_from(["insert", "insert", "insert", "delete", "delete", "double", "geom", "joint", "x"])
    return st.builds(change, st.integers(0, 60), how, st.sampled_from(ELEMENTS))


def _of_attributes() -> st.SearchStrategy[Change]:
    def change(which: int, name: str | int, value: str) -> Change:
        def apply(root: ElementTree.Element) -> None:
            element = _element(root, which)
            names = list(element.attrib)
            if isinstance(name, str):
                element.set(name, value)
            elif names:
                element.set(names[name % len(names)], value)

        return apply

    name = st.one_of(st.integers(0, 9), st.integers(0, 9), st.sampled_from(ATTRIBUTES))
    return st.builds(change, st.integers(0, 60), name, st.sampled_from(WORDS))
