"""half_cheetah: a planar cheetah runs forward. Gymnasium's v5 model; reward of Wang et al. 2019; never terminates."""

from torch import Tensor

from diffmaac.task import Task
from diffmaac_envs import presets
from diffmaac_envs._locomotion import REFERENCE, gymnasium_system, near_initial


def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
    """Forward velocity [m/s] less the cost of control."""
    return obs_t[..., 8] - 0.1 * action_t.square().sum(-1)


def half_cheetah() -> Task:
    """obs (17): torso height [m] and pitch [rad], 6 joint angles [rad]; velocities of x, height, pitch and joints.

    action (6): torque at thigh, shin and foot, back leg before front, as a share of the actuator's.
    """
    system = gymnasium_system("half_cheetah.xml", frame_skip=5, hidden=1)
    return Task(
        name="half_cheetah",
        system=system,
        reward=reward,
        reset=near_initial(system, 0.1, 0.1, gaussian=True),
        reward_text="s[8] - 0.1 |a|^2",
        fallen=lambda obs: obs[..., 1].cos() < 0,
        reference=REFERENCE,
        presets=presets.HALF_CHEETAH,
    )
