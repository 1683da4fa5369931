"""Small models, one for each feature of MJCF that changes a step."""

import mujoco
import numpy as np

LINK = """<body><joint name="j" axis="0 1 0" stiffness="2" damping="1"/>
  <geom type="capsule" fromto="0 0 0 .5 0 0" size=".03" mass="1"/></body>"""
BALL = '<geom type="plane" size="5 5 1"/><body pos="0 0 .099"><freejoint/><geom size=".1" mass="1"/></body>'
MOTOR = '<actuator><motor name="m" joint="j"/></actuator>'


def mjcf(body: str = LINK, rest: str = MOTOR, option: str = "", flag: str = "") -> str:
    return (
        f'<mujoco><option timestep=".002" {option}><flag {flag}/></option><worldbody>{body}</worldbody>{rest}</mujoco>'
    )


EVERYTHING = """<mujoco><option integrator="{integrator}"/><worldbody><geom name="floor" type="plane" size="1 1 1"/>
  <geom name="c" type="cylinder" size=".1 .1"/>
  <body name="b"><joint name="j"/><geom name="g" type="capsule" size=".1 .1"/></body></worldbody>
  <tendon><fixed name="t"><joint joint="j" coef="1"/></fixed></tendon>
  <actuator><motor name="m" joint="j"/></actuator>
  <contact><pair name="p" geom1="floor" geom2="g"/></contact></mujoco>"""
"""A part of each kind that has fields which are refused."""

TWO = """<geom name="one" {}/><body pos="0 0 {}"><freejoint/><geom name="two" {}/></body>"""
CUBE, BOX = 'type="box" size=".005 .005 .005"', 'type="box" size=".024 .005 .005"'
TETRAHEDRON = '<asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>'
INSIDE = """<geom name="barrel" type="cylinder" size=".2 .3" quat="1 1 0 0" contype="0" conaffinity="0"/>
  <site name="start" pos="-.15 0 .5"/><site name="inner" pos="0 0 -.1"/>
  <body pos=".1 0 -.4"><joint axis="1 0 0" type="slide"/><geom size=".03" contype="0" conaffinity="0"/>
    <site name="end"/></body>"""
CORD = """<tendon><spatial name="cord" stiffness="100" springlength="0"><site site="start"/>
  <geom geom="barrel" sidesite="inner"/><site site="end"/></spatial></tendon>"""
CHAIN = """<body name="a"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/>
  <body name="b" pos=".3 0 0"><joint axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".03"/></body>
  </body>"""
MOCAP = '<body name="m" mocap="true"/><body name="b"><freejoint/><geom type="box" size=".1 .1 .2"/></body>'


def actuator(element: str) -> str:
    return f"<actuator>{element}</actuator>"


ABSENT = {
    "connect": (
        mjcf(CHAIN, '<equality><connect name="pin" body1="b" body2="world" anchor=".3 0 0"/></equality>'),
        r"no <connect> \(equality 'pin'\)",
    ),
    "weld": (mjcf(MOCAP, '<equality><weld body1="m" body2="b"/></equality>'), r"no <weld> \(equality 0\)"),
    "armature": (mjcf(rest=actuator('<motor name="m" joint="j" armature="1"/>')), "no armature .* of actuator 'm'"),
    "delay": (
        mjcf(rest=actuator('<motor joint="j" delay=".02" nsample="10"/>')),
        r"no delay \(actuator_delay\) of actuator 0",
    ),
    "discrete": (mjcf(option='integrator="discrete"'), 'no <option integrator="discrete"/>'),
    "implicit": (mjcf(option='integrator="implicit"'), 'no <option integrator="implicit"/>'),
    "noslip": (mjcf(option='noslip_iterations="3"'), 'no <option noslip_iterations="3"/>'),
    "actuator group": (
        mjcf(rest=actuator('<motor joint="j" group="1"/>'), option='actuatorgroupdisable="1"'),
        "no <option actuatorgroupdisable",
    ),
    "adhesion": (
        mjcf(BALL.replace("<geom", '<geom name="floor" adhesion="20"', 1), "", 'gravity="0 0 5"'),
        r"no adhesion \(geom_adhesion\) of geom 'floor'",
    ),
    "wrap inside": (mjcf(INSIDE, CORD), "no wrapping inside a geom .* of tendon 'cord'"),
    "box on box": (
        mjcf(TWO.format(CUBE, ".0099", BOX), ""),
        "no exact contact of box and box \\(geom 'one' with geom 'two'; contype.*rule it out",
    ),
    "mesh on mesh": (
        mjcf(TWO.format('type="mesh" mesh="m"', "1", 'type="mesh" mesh="m"'), TETRAHEDRON),
        "no exact contact of mesh and mesh",
    ),
    "flex": (
        mjcf('<flexcomp name="f" type="grid" count="3 3 1" spacing=".1 .1 .1" dim="2" mass="1"/>', ""),
        "no <flex>",
    ),
    "adhesion actuator": (
        mjcf('<body name="b"><freejoint/><geom size=".1"/></body>', actuator('<adhesion body="b" ctrlrange="0 1"/>')),
        'no trntype="body" of actuator 0',
    ),
    "slider-crank": (
        mjcf(
            '<site name="s"/><body><joint axis="0 1 0"/><geom size=".1"/><site name="c" pos=".2 0 0"/></body>',
            actuator('<motor name="m" cranksite="c" slidersite="s" cranklength=".3"/>'),
        ),
        "no trntype=\"slidercrank\" of actuator 'm'",
    ),
    "early activations": (
        mjcf(rest=actuator('<general joint="j" dyntype="filter" dynprm=".1" actearly="true"/>')),
        "no actearly",
    ),
    "muscle under implicitfast": (
        mjcf(rest=actuator('<muscle name="m" joint="j" lengthrange=".1 2"/>'), option='integrator="implicitfast"'),
        "no derivative by the velocity.* of actuator 'm'",
    ),
    "controls that scale damping under implicitfast": (
        mjcf(rest=actuator('<damper name="m" joint="j" kv="2" ctrlrange="0 1"/>'), option='integrator="implicitfast"'),
        "no derivative by the velocity.* of actuator 'm'",
    ),
    "limited damped force under implicitfast": (
        mjcf(
            rest=actuator('<velocity name="m" joint="j" kv="3" forcerange="-1 1"/>'), option='integrator="implicitfast"'
        ),
        "no derivative by the velocity.* of actuator 'm'",
    ),
    "pruned contacts": (
        mjcf(BALL, '<custom><numeric name="max_contact_points" data="1"/></custom>'),
        'no contacts left out by <numeric name="max_contact_points"/>',
    ),
    "fluid under implicitfast": (
        mjcf(option='integrator="implicitfast" density="1000"'),
        "MJX cannot load this model: implicitfast not implemented for fluid drag",
    ),
}
"""What is refused, and by which words."""

ALLOWED = {
    "energy": mjcf(flag='energy="enable"'),
    "forward and inverse compared": mjcf(flag='fwdinv="enable" invdiscrete="enable"'),
    "sensors": mjcf(rest=MOTOR + '<sensor><jointpos joint="j" noise="1" delay=".01" nsample="5"/></sensor>'),
    "no sensors": mjcf(flag='sensor="disable" midphase="disable" island="disable" warmstart="disable"'),
    "solver": mjcf(option='solver="PGS" iterations="3" jacobian="sparse" noslip_tolerance="1" o_margin=".1"'),
    "looks": mjcf('<light pos="0 0 2"/><camera pos="0 0 1"/>' + LINK),
    "boxes that cannot touch": mjcf(TWO.format(CUBE, "1", BOX + ' contype="0" conaffinity="0"'), ""),
    "boxes without contacts": mjcf(TWO.format(CUBE, "1", BOX), "", flag='contact="disable"'),
    "a group that nobody is in": mjcf(option='actuatorgroupdisable="2"'),
}
"""What no motion depends on."""
DRIVES = (
    '<motor joint="{}" gear="2" forcerange="-.3 .3"/>',
    '<position joint="{}" kp="40" dampratio="1"/>',
    '<position joint="{}" kp="40" timeconst=".1"/>',
    '<velocity joint="{}" kv="3"/>',
    '<intvelocity joint="{}" kp="30" actrange="-1 1"/>',
    '<cylinder joint="{}" timeconst=".1" area=".5" bias="1 2 3"/>',
    '<general joint="{}" dyntype="filterexact" dynprm=".1" gainprm="3"/>',
    '<general joint="{}" gaintype="affine" gainprm="1 2 3"/>',
)
SLOW_DRIVES = (
    '<damper joint="{}" kv="2" ctrlrange="0 1"/>',
    '<muscle joint="{}" lengthrange=".1 2" scale="100"/>',
    '<velocity joint="{}" kv="3" forcerange="-1 1"/>',
)
"""What implicitfast has not."""


def driven(drives: tuple[str, ...], option: str = "") -> str:
    """A link for each actuator."""
    links = "".join(
        LINK.replace('name="j"', f'name="j{i}"').replace("<body>", f'<body pos="0 {i} 0">') for i in range(len(drives))
    )
    return mjcf("".join(links), actuator("".join(drive.format(f"j{i}") for i, drive in enumerate(drives))), option)


TENDONS = """<tendon>
  <spatial name="t" stiffness="50" damping="2" range="0 .3" springlength="0 .1" frictionloss=".1" armature=".2">
    <site site="a"/><site site="b"/></spatial>
  <spatial name="ball" stiffness="90"><site site="a"/><geom geom="ball"/><site site="b"/></spatial>
  <spatial name="side" stiffness="80" springlength=".1"><site site="a"/><geom geom="drum" sidesite="over"/>
    <site site="b"/><pulley divisor="2"/><site site="over"/><site site="b"/></spatial>
  <fixed name="both" stiffness="5" limited="true" range="-.1 .1" frictionloss=".1" actuatorfrcrange="-.2 .2">
    <joint joint="j" coef="1"/><joint joint="k" coef="-2"/></fixed>
  <fixed name="one"><joint joint="k" coef="1"/></fixed></tendon>
  <equality><tendon tendon1="both" tendon2="one" polycoef="0 .5 .3 0 0"/><joint joint1="k" polycoef=".1"/>
    <joint joint1="j" joint2="k" polycoef=".1 1 .2 0 0" active="false"/></equality>
  <actuator><motor tendon="t"/><position tendon="side" kp="10"/><motor tendon="both"/><motor tendon="both" gear="2"/>
    <motor site="b" gear="0 0 1 0 0 0"/><position site="b" refsite="a" gear="0 0 1 0 1 0" kp="5"/></actuator>"""
STRUNG = (
    '<site name="a" pos="-.3 0 .5"/><site name="over" pos="0 0 1"/>'
    + "".join(
        f'<geom name="{name}" type="{kind}" size=".1 .3" quat="1 1 0 0" pos="0 0 .3" contype="0" conaffinity="0"/>'
        for name, kind in (("ball", "sphere"), ("drum", "cylinder"))
    )
    + LINK.replace("</body>", '<site name="b" pos=".5 0 .1"/></body>')
    + LINK.replace('"j"', '"k"').replace("<body>", '<body pos="0 1 0" gravcomp="1.3">')
)
TOUCHING = """<geom name="f" type="plane" size="5 5 1" priority="1" friction=".3" solmix="2" margin=".01" contype="3"/>
  <body mocap="true" pos="3 0 -.08"><geom size=".1"/></body>
  <body pos="3 0 .1"><freejoint/><geom size=".1" condim="6"/></body>
  <body pos="1 0 .099"><freejoint/><geom name="g" type="capsule" size=".1 .2" mass="1"/></body>
  <body pos="0 0 .099"><freejoint/>
    <geom type="cylinder" size=".1 .1" mass="1" contype="0" conaffinity="2" solmix="5" friction="1.5" condim="4"
      solref="-100 -5"/></body>"""
PAIR = """<contact><pair geom1="f" geom2="g" condim="{}" friction=".5 .4 .1 .02 .03" margin=".02" solref=".03 1"
  solreffriction=".02 1" solimp=".8 .9 .01 .4 3"/></contact>"""

WORLDS = {
    "actuators": driven(DRIVES + SLOW_DRIVES),
    "actuators, implicitfast": driven(DRIVES, 'integrator="implicitfast"'),
    "tendons and equalities": mjcf(STRUNG, TENDONS),
    "contacts": mjcf(TOUCHING, PAIR.format(1)),
    "contacts, elliptic": mjcf(TOUCHING, PAIR.format(4), 'cone="elliptic" impratio="3"'),
    "no springs": mjcf(flag='spring="disable"', option='density="1000" viscosity=".1" wind="1 2 3"'),
    "no dampers": mjcf(flag='damper="disable"', option='integrator="implicitfast"'),
}
"""All features that are not refused, a few models."""


def states(model: mujoco.MjModel, count: int = 8) -> tuple[np.ndarray, ...]:
    """(qpos, qvel, act, ctrl) about the model's start."""
    rng = np.random.default_rng(0)
    qpos = np.tile(model.qpos0, (count, 1))
    for row in qpos:
        mujoco.mj_integratePos(model, row, rng.normal(size=model.nv), 0.1)
    qvel, ctrl = rng.normal(size=(count, model.nv)), rng.normal(size=(count, model.nu))
    return qpos, qvel, rng.uniform(0.05, 0.6, (count, model.na)), ctrl
