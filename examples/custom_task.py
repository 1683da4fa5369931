"""Your own MJCF and your own reward: a crane carries a hanging load one metre to the right and stops it from swinging.

python examples/custom_task.py steps=3000
"""

import sys
from pathlib import Path

import numpy as np

import diffmaac
from diffmaac.settings import parse_words

XML = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body>
      <joint name="rail" type="slide" axis="1 0 0" damping="1"/>
      <geom type="box" size="0.1 0.1 0.05" mass="1"/>
      <body>
        <joint name="cable" type="hinge" axis="0 1 0" damping="0.01"/>
        <geom type="sphere" pos="0 0 -0.5" size="0.08" mass="0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="rail" ctrlrange="-5 5" ctrllimited="true"/></actuator>
</mujoco>
"""


def reward(obs_t, action_t):
    """obs = (x, cos, sin, x', theta'), since the hinge is declared as an angle below. Batched, differentiable."""
    x, sway = obs_t[..., 0], obs_t[..., 4]
    return -(x - 1.0).square() - 0.1 * sway.square() - 0.01 * action_t.square().sum(-1)


crane = diffmaac.Task(
    name="crane",
    system=diffmaac.MujocoSystem.from_xml(XML, frame_skip=5, angles=(1,)),
    reward=reward,
    reset=lambda rng: (rng.uniform(-0.2, 0.2, 2), np.zeros(2)),
    episode_steps=100,
)


def main(words: list[str], out: Path = Path("runs/crane")) -> None:
    settings = {"steps": 3000, **parse_words(words)}
    out = Path(settings.pop("out", out))
    for dynamics in ("learned", "true"):
        run = diffmaac.train(crane, dynamics=dynamics, out=str(out / dynamics), **settings)
        print(f"{dynamics} dynamics: return {run.evaluation.metrics()['return']:.2f}")
        print(f"first action: {diffmaac.load(run.path, env=crane).act(np.array([0.0, 1.0, 0.0, 0.0, 0.0]))}")


if __name__ == "__main__":
    main(sys.argv[1:])
