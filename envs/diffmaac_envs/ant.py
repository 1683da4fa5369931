"""ant: a four-legged body walks forward. Gymnasium's v5 model; reward of Wang et al. 2019; never terminates.

The observation holds the torso's unit quaternion, of which q and -q are the same state.
"""

from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._locomotion import REFERENCE, gymnasium_system, near_initial, upright_walk


def ant() -> Task:
    """obs (27): torso height [m], its quaternion, 8 joint angles [rad]; their 14 velocities (torso x, y, z first).

    action (8): torque at hip and ankle of each leg, as a share of the actuator's.
    """
    system = gymnasium_system("ant.xml", frame_skip=5, hidden=2)
    return Task(
        name="ant",
        system=system,
        reward=upright_walk(velocity=13, height=0.57),
        reset=near_initial(system, 0.1, 0.1, gaussian=True),
        reward_text="s[13] - 3 (s[0] - 0.57)^2 - 0.1 |a|^2 + 1",
        fallen=lambda obs: (obs[..., 0] < 0.2) | (obs[..., 2].square() + obs[..., 3].square() > 0.5),
        reference=REFERENCE,
        presets=presets.ANT,
    )
