"""Small models, one for each feature of MJCF that changes a step, and states to try them at."""

import mujoco
import numpy as np

LEG = """
<body name="a" pos="0 0 1"><joint name="j0" axis="0 1 0" {joint}/>
  <geom type="capsule" fromto="0 0 0 .3 0 -.2" size=".04" mass="1"/><site name="s0" pos=".1 0 .1"/>
  <body name="b" pos=".3 0 -.2"><joint name="j1" axis="0 1 .3" {joint}/>
    <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".04" mass=".7"/><site name="s1" pos=".2 0 .05"/>
    <geom name="wrap" type="cylinder" size=".05 .1" pos=".15 0 0" euler="1.57 0 0" contype="0" conaffinity="0"/>
    <site name="inside" pos=".15 0 0"/>
    <body name="c" pos=".3 0 .1" {body}><joint name="j2" axis=".2 1 0" {joint}/>
      <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".04" mass=".5" {geom}/><site name="s2" pos=".2 0 .05"/>
    </body>
  </body>
</body>"""
BODY = '<body pos="0 0 {height}"><freejoint/><geom type="{kind}" size="{size}" mass="1" {more}/></body>'
BENCH = """
<body pos="0 0 .1"><joint type="slide" axis="0 0 1" stiffness="50" damping="5"/>
  <joint axis="0 1 0" stiffness="5" damping="1"/><geom type="{0}" size="{1}" mass="2"/></body>
<body pos=".05 .03 .38"><freejoint/><geom type="{2}" size="{3}" mass="1"/></body>"""
STRING = '<site site="s0"/><site site="s2"/>'
COUPLED = '<fixed name="t" {}><joint joint="j0" coef="1"/><joint joint="j2" coef="-.7"/></fixed>'
VELOCITY_GAIN = (
    'gaintype="affine" gainprm="2 .3 .5" biastype="affine" biasprm="0 -1 -.4" forcelimited="true" forcerange="-.5 .5"'
)
BRANCHES = """
<body name="base" pos="0 0 2"><freejoint/><geom size=".1" mass="2" contype="0" conaffinity="0"/>
  <body pos=".1 0 0"><joint name="j0" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 .3 0 -.2" size=".04" mass="1"/>
    <site name="s0" pos=".2 0 -.1"/></body>
  <body pos="-.1 0 0"><joint name="j2" axis=".2 1 0"/>
    <geom type="capsule" fromto="0 0 0 -.3 0 -.2" size=".04" mass=".7"/><site name="s2" pos="-.2 0 -.1"/></body>
</body>
<body pos="0 .6 2"><freejoint/><geom size=".1" mass="1"/><site name="s3" pos=".05 0 0"/></body>"""
INTEGRATORS = ("Euler", "RK4", "implicit", "implicitfast", "discrete")


def scene(bodies: str, extra: str = "", option: str = "", head: str = "", floor: str = "") -> str:
    return f"""<mujoco><compiler angle="radian"/><option timestep="0.004" {option}/>{head}
      <worldbody><geom name="floor" type="plane" size="5 5 .1" {floor}/>{bodies}</worldbody>{extra}</mujoco>"""


def leg(extra: str = "", joint: str = "", body: str = "", geom: str = "", option: str = "", head: str = "") -> str:
    """Three links in the air."""
    return scene(LEG.format(joint=joint, body=body, geom=geom), extra, option, head)


def loose(kind: str, size: str, height: float, more: str = "", **others: str) -> str:
    """A free body over the floor."""
    return scene(BODY.format(kind=kind, size=size, height=height, more=more), **others)


def branches(extra: str, option: str = "") -> str:
    """A free body with two limbs, and a ball, in the air."""
    return scene(BRANCHES, extra, option)


def driven(kind: str = "motor", more: str = "") -> str:
    return "<actuator>" + "".join(f'<{kind} joint="{joint}" {more}/>' for joint in ("j0", "j1")) + "</actuator>"


def tendon(content: str, actuators: str = "") -> str:
    return f"<tendon>{content}</tendon><actuator>{actuators}</actuator>"


def _integrators() -> dict[str, str]:
    models = {}
    for name in INTEGRATORS:
        option = f'integrator="{name}"'
        spring = tendon(
            COUPLED.format('stiffness="5" damping="2" springlength=".1"')
            + f'<spatial name="s" stiffness="30" damping="3">{STRING}</spatial>',
            '<position tendon="t" kp="4" kv="1"/><motor tendon="s"/>',
        )
        models |= {
            f"{name}: damping": leg(driven("velocity", 'kv="2"'), 'damping=".5" armature=".01"', option=option),
            f"{name}: free body": loose("box", ".1 .15 .2", 2, option=option),
            f"{name}: tendons": leg(spring, option=option),
            f"{name}: velocity in a gain": leg(driven("general", VELOCITY_GAIN), option=option),
            f"{name}: muscle": leg(driven("muscle", 'lengthrange="-2 2" force="3"'), 'damping=".1"', option=option),
        }
    return models


ACTUATORS = {
    "position": 'kp="5" kv=".5"',
    "intvelocity": 'kp="5" kv="1" actrange="-1 1"',
    "damper": 'kv="2" ctrlrange="0 1"',
    "cylinder": 'timeconst=".1" area="2"',
    "general filter": 'dyntype="filter" dynprm=".05" gainprm="2"',
    "general filterexact": 'dyntype="filterexact" dynprm=".05" actlimited="true" actrange="-.5 .5"',
    "general integrator": 'dyntype="integrator" gainprm="2" actearly="true" actlimited="true" actrange="-1 1"',
    "motor armature": 'armature="1" damping=".5"',
    "motor gear": 'gear="3" ctrlrange="-.5 .5" forcerange="-1 1"',
    "motor force": 'forcerange="-.3 .3"',
    "position force": 'kp="5" kv=".5" forcerange="-.3 .3"',
    "pid": 'kp="5" kv="1" ki="2"',
    "dcmotor": 'motorconst=".5" resistance="2"',
    "dcmotor with a current": 'motorconst=".5" resistance="2" inductance=".01"',
    "general bias without a type": 'gainprm="3" biasprm="0 -50 -10" forcerange="-1 1"',
}
PAIRS = {
    "capsule-box": ("box", ".3 .3 .1", "capsule", ".1 .2"),
    "box-box": ("box", ".3 .3 .1", "box", ".1 .1 .2"),
    "sphere-box": ("box", ".3 .3 .1", "sphere", ".1"),
    "sphere-cylinder": ("cylinder", ".3 .1", "sphere", ".1"),
    "cylinder-box": ("box", ".3 .3 .1", "cylinder", ".1 .2"),
    "ellipsoid-box": ("box", ".3 .3 .1", "ellipsoid", ".1 .2 .15"),
    "capsule-capsule": ("capsule", ".1 .3", "capsule", ".1 .2"),
}
MESH = '<asset><mesh name="m" vertex="-.1 -.1 -.1 .1 -.1 -.1 0 .1 -.1 0 0 .15 .1 .1 .1"/></asset>'
HILLS = '<hfield name="h" nrow="4" ncol="4" size="2 2 .3 .1" elevation="0 1 2 1 1 3 1 2 0 1 2 2 1 0 1 1"/>'
MOCAP = (
    '<body name="m" mocap="true" pos="0 0 1"/><body name="b" pos=".2 0 1"><freejoint/><geom size=".1" mass="1"/></body>'
)
BALL = """<body pos="0 0 1"><joint name="j" type="ball" damping=".1" stiffness="2" limited="true" range="0 .3"/>
  <geom type="box" size=".1 .1 .3" pos="0 0 -.3" mass="1"/></body>"""
FLAGS = ("spring", "damper", "gravity", "contact", "eulerdamp", "limit", "actuation", "clampctrl", "refsafe")
RICH = 'damping=".5" stiffness="2" frictionloss=".1" limited="true" range="-1 1"'
FILTERED = driven("general", 'dyntype="filter" dynprm=".05"')


def _contacts() -> dict[str, str]:
    models = {}
    for cone in ("pyramidal", "elliptic"):
        for dimension in (1, 3, 4, 6):
            surface = f'condim="{dimension}" friction=".6 .02 .01"'
            bodies = "".join(
                f'<body pos="{x} 0 {z}"><freejoint/><geom type="{kind}" size=".1 .15 .1" mass="1" {surface}/></body>'
                for kind, x, z in (("box", 0, 0.11), ("sphere", 0.5, 0.1))
            )
            models[f"condim {dimension}, {cone}"] = scene(bodies, option=f'cone="{cone}" impratio="2"')
    return models | {f"contact of {name}": scene(BENCH.format(*pair)) for name, pair in PAIRS.items()}


def _between_branches() -> dict[str, str]:
    """Forces that depend on velocities, on dofs of which neither carries the other."""
    limbs, trees = '<site site="s0"/><site site="s2"/>', '<site site="s0"/><site site="s3"/>'
    spatial = f'<spatial name="s" {{}}>{trees}</spatial>'
    servo = '<actuator><general {} biastype="affine" biasprm="0 -2 -20"/></actuator>'
    models = {
        "damped tendon": tendon(COUPLED.format('damping="3"')),
        "damped string": tendon(f'<spatial damping="5">{limbs}</spatial>'),
        "damped string of higher order": tendon(f'<spatial damping="1 2 1">{limbs}</spatial>'),
        "damped string of two trees": tendon(spatial.format('damping="5"')),
        "servo on a tendon": tendon(COUPLED.format(""), '<position tendon="t" kp="4" kv="2"/>'),
        "velocity in a gain": tendon(COUPLED.format(""), '<general tendon="t" gaintype="affine" gainprm="2 0 -.2"/>'),
        "muscle": tendon(spatial.format(""), '<muscle tendon="s" lengthrange=".1 2" force="5"/>'),
        "servo on a site": servo.format('site="s0" refsite="s2" gear="1 0 1 0 0 0"'),
        "slider-crank": servo.format('cranksite="s2" slidersite="s0" cranklength=".9"'),
        "armature of a tendon": tendon(spatial.format('armature=".5"')),
        "armature on a tendon": tendon(spatial.format(""), '<motor tendon="s" armature=".5"/>'),
    }
    return {
        f"between branches, {integrator}: {name}": branches(extra, f'integrator="{integrator}"')
        for name, extra in models.items()
        for integrator in ("Euler", "RK4", "implicitfast")
    }


def features() -> dict[str, str]:
    """MJCF by feature."""
    return {
        **_integrators(),
        **_between_branches(),
        **{f"actuator: {name}": leg(driven(name.split()[0], more)) for name, more in ACTUATORS.items()},
        "actuators off": leg(
            driven("general", 'group="1" dyntype="filter" dynprm=".1"'), option='actuatorgroupdisable="1"'
        ),
        "actuator with early activation, implicit": leg(
            driven("general", 'dyntype="filter" dynprm=".05" actearly="true" gaintype="affine" gainprm="2 .3 .5"'),
            option='integrator="implicitfast"',
        ),
        "actuators on sites and inside a parent": leg(
            '<actuator><general site="s2" refsite="s0" gear="1 2 3 .1 .2 .3" biastype="affine" biasprm="0 -2 -1"/>'
            '<motor site="s1" gear="0 1 0 0 0 1"/><motor jointinparent="j1"/></actuator>'
        ),
        "slider-crank": leg('<actuator><motor cranksite="s2" slidersite="s0" cranklength=".9"/></actuator>'),
        "joint force limits": leg(driven(), 'actuatorfrclimited="true" actuatorfrcrange="-.3 .3"'),
        "tendon force limits": leg(
            tendon(
                COUPLED.format('actuatorfrclimited="true" actuatorfrcrange="-.6 .6"'),
                '<motor tendon="t"/><motor tendon="t" gear="2"/>',
            )
        ),
        "gravity compensation": leg(driven(), body='gravcomp="1"'),
        "gravity compensation by actuators": leg(
            driven(), 'actuatorgravcomp="true" actuatorfrcrange="-2 2"', body='gravcomp="1"'
        ),
        "springs and dampers of higher order": leg(driven(), 'damping=".3 .2 .1" stiffness="2 1 .5" springref=".5"'),
        "damping that holds a joint": leg(driven(), 'damping="1e4" limited="true" range="-.2 .2" frictionloss=".1"'),
        "friction loss": leg(driven(), 'frictionloss=".4"'),
        "joint limits": leg(driven(), 'limited="true" range="-.2 .2" margin=".05"'),
        "ball joint": scene(
            BALL, '<actuator><motor joint="j" gear="0 1 2"/><position joint="j" gear="1 0 0"/></actuator>'
        ),
        "tendon armature and limit": leg(
            tendon(
                f'<spatial name="s" armature=".3" limited="true" range="0 .6">{STRING}</spatial>', '<motor tendon="s"/>'
            )
        ),
        **{
            f"wrapped tendon, {where}": leg(
                tendon(
                    '<spatial name="s" stiffness="30" frictionloss=".1"><site site="s0"/><geom geom="wrap"'
                    f' sidesite="{side}"/><site site="s2"/></spatial>',
                    '<muscle tendon="s" lengthrange=".1 1" force="5"/>',
                )
            )
            for where, side in (("outside", "s1"), ("inside", "inside"))
        },
        "connect": leg('<equality><connect body1="c" body2="world" anchor=".3 0 .1"/></equality>' + driven()),
        "weld to a mocap body": scene(MOCAP, '<equality><weld body1="m" body2="b" anchor=".2 0 0"/></equality>'),
        "joints coupled": leg(
            '<equality><joint joint1="j0" joint2="j2" polycoef=".1 .5 .2 0 0"/></equality>' + driven()
        ),
        "tendons coupled": leg(
            tendon(
                "".join(
                    f'<fixed name="{t}"><joint joint="{j}" coef="1"/></fixed>' for t, j in (("t", "j0"), ("u", "j2"))
                )
            )
            + '<equality><tendon tendon1="t" tendon2="u" polycoef="0 1 .3 0 0"/></equality>'
        ),
        **_contacts(),
        "cylinder on a plane": loose("cylinder", ".1 .1", 0.11),
        "ellipsoid on a plane": loose("ellipsoid", ".1 .15 .1", 0.11),
        "margin and gap": loose("sphere", ".1", 0.14, 'margin=".05" gap=".02"'),
        "mesh": scene('<body pos="0 0 .11"><freejoint/><geom type="mesh" mesh="m" mass="1"/></body>', head=MESH),
        "height field": scene(
            '<geom type="hfield" hfield="h" pos="0 0 .1"/>'
            + BODY.format(height=0.36, kind="sphere", size=".1", more=""),
            head=f"<asset>{HILLS}</asset>",
        ),
        "fluid": leg(driven(), option='density="1.2" viscosity=".5" wind="1 0 0"'),
        "fluid around an ellipsoid": leg(
            driven(), geom='fluidshape="ellipsoid"', option='density="100" viscosity=".5"'
        ),
        "adhesion": loose("sphere", ".1", 0.099, floor='adhesion="20"'),
        "moving surface": loose("box", ".1 .1 .1", 0.099, floor='surfacevel="1 0 0 0 0 .5"'),
        "adhesive actuator": scene(
            '<body name="b" pos="0 0 .105"><freejoint/><geom size=".1" mass="1" margin=".02" gap=".02"/></body>',
            '<actuator><adhesion body="b" ctrlrange="0 1" gain="20"/></actuator>',
        ),
        **{
            f"{flag} disabled": leg(FILTERED, RICH, head=f'<option><flag {flag}="disable"/></option>') for flag in FLAGS
        },
        **{
            f"{flag} enabled": leg(FILTERED, RICH, head=f'<option><flag {flag}="enable"/></option>')
            for flag in ("energy", "fwdinv", "invdiscrete", "diagexact", "sleep")
        },
        "plugin for elastic cables": scene(
            '<composite type="cable" curve="s" count="6 1 1" size=".6" offset="0 0 1" initial="none">'
            '<plugin plugin="mujoco.elasticity.cable"><config key="twist" value="1e6"/><config key="bend" value="4e6"/>'
            '</plugin><joint kind="main" damping=".1"/><geom type="capsule" size=".02"/></composite>',
            head='<extension><plugin plugin="mujoco.elasticity.cable"/></extension>',
        ),
        "plugin for PID control": leg(
            '<actuator><plugin joint="j0" plugin="mujoco.pid"><config key="kp" value="40"/></plugin></actuator>',
            head='<extension><plugin plugin="mujoco.pid"/></extension>',
        ),
        "plugin for PID control with an integral": leg(
            '<actuator><plugin joint="j0" plugin="mujoco.pid" actdim="1"><config key="kp" value="40"/>'
            '<config key="ki" value="20"/><config key="imax" value="9"/></plugin></actuator>',
            head='<extension><plugin plugin="mujoco.pid"/></extension>',
        ),
        "elastic flex": scene(
            '<flexcomp type="grid" count="2 2 2" spacing=".1 .1 .1" dim="3" name="f" pos="0 0 .12" mass=".5"'
            ' radius=".01"><elasticity young="1e3" poisson=".2" damping=".01"/></flexcomp>'
        ),
    }


def moving_states(model: mujoco.MjModel, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """qpos, qvel, act, ctrl of `count` states a few steps after a random start near the model's reference."""
    rng, data = np.random.default_rng(seed), mujoco.MjData(model)
    rows = []
    for _ in range(count):
        mujoco.mj_resetData(model, data)
        mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 0.15)
        data.qvel[:], data.act[:] = 0.5 * rng.normal(size=model.nv), rng.uniform(0, 1, model.na)
        data.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_step(model, data, nstep=int(rng.integers(1, 25)))
        rows.append((data.qpos.copy(), data.qvel.copy(), data.act.copy(), rng.uniform(-1, 1, model.nu)))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))
