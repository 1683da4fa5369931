"""walker2d: a planar biped walks forward. Gymnasium's v5 model; reward of Wang et al. 2019; never terminates."""

from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._locomotion import REFERENCE, gymnasium_system, near_initial, upright_walk


def walker2d() -> Task:
    """obs (17): torso height [m] and pitch [rad], 6 joint angles [rad]; velocities of x, height, pitch and joints.

    action (6): torque at thigh, leg and foot, right before left, as a share of the actuator's.
    """
    system = gymnasium_system("walker2d_v5.xml", frame_skip=4, hidden=1)
    return Task(
        name="walker2d",
        system=system,
        reward=upright_walk(velocity=8, height=1.3),
        reset=near_initial(system, 5e-3, 5e-3, gaussian=False),
        reward_text="s[8] - 3 (s[0] - 1.3)^2 - 0.1 |a|^2 + 1",
        fallen=lambda obs: obs[..., 0] < 0.8,
        reference=REFERENCE,
        presets=presets.WALKER2D,
    )
