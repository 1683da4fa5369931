"""hopper: a planar leg hops forward. Gymnasium's v5 model; reward of Wang et al. 2019; never terminates."""

from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._locomotion import REFERENCE, gymnasium_system, near_initial, upright_walk


def hopper() -> Task:
    """obs (11): torso height [m] and pitch [rad], 3 joint angles [rad]; velocities of x, height, pitch and joints.

    action (3): torque at thigh, leg and foot, as a share of the actuator's.
    """
    system = gymnasium_system("hopper.xml", frame_skip=4, hidden=1)
    return Task(
        name="hopper",
        system=system,
        reward=upright_walk(velocity=5, height=1.3),
        reset=near_initial(system, 5e-3, 5e-3, gaussian=False),
        reward_text="s[5] - 3 (s[0] - 1.3)^2 - 0.1 |a|^2 + 1",
        fallen=lambda obs: obs[..., 0] < 0.7,
        reference=REFERENCE,
        presets=presets.HOPPER,
    )
