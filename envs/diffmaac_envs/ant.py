"""ant: a four-legged body walks forward. Gymnasium's v5 model; reward of Wang et al. 2019; never terminates.

The observation holds the torso's unit quaternion, of which q and -q are the same state.
"""

from torch import Tensor

from diffmaac.task import Task
from diffmaac_envs._locomotion import REFERENCE, gymnasium_system, near_initial


def reward(obs_t: Tensor, action_t: Tensor) -> Tensor:
    """Forward velocity [m/s], less the cost of leaving the height 0.57 m and of control, plus one for each step."""
    height_cost = 3.0 * (obs_t[..., 0] - 0.57).square()
    return obs_t[..., 13] - height_cost - 0.1 * action_t.square().sum(-1) + 1.0


def ant() -> Task:
    system = gymnasium_system("ant.xml", frame_skip=5, hidden=2)
    return Task(
        name="ant",
        system=system,
        reward=reward,
        reset=near_initial(system, 0.1, 0.1, gaussian=True),
        reward_text="s[13] - 3 (s[0] - 0.57)^2 - 0.1 |a|^2 + 1",
        reference=REFERENCE,
        presets={
            "paper": {"steps": 300_000, "horizon": 4, "rollout_length": [1, 25]},
            "quick": {"steps": 20_000, "horizon": 3},
        },
    )
