"""Any Gymnasium environment: its reward is learned with its dynamics, or given in torch. One figure of both.

python examples/gymnasium_environment.py                      Pendulum-v1, about six minutes on two cores
python examples/gymnasium_environment.py steps=2000 seed=1    any setting of `diffmaac train` but env, out
"""

import sys
from pathlib import Path

import gymnasium
import torch

import diffmaac
from diffmaac.analysis.plots import learning_curve
from diffmaac.settings import parse_words


def reward(obs_t, action_t, obs_tp1):
    """Pendulum-v1's own, -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), of where a step starts; action_t in [Nm]."""
    angle = torch.atan2(obs_t[..., 1], obs_t[..., 0])
    return -(angle.square() + 0.1 * obs_t[..., 2].square() + 0.001 * action_t.square().sum(-1))


TASKS = {
    "learned reward": diffmaac.Task.from_gymnasium("Pendulum-v1"),
    "given reward": diffmaac.Task.from_gymnasium("Pendulum-v1", reward=reward, terminated=False),
}


def main(words: list[str], out: Path = Path("runs/gymnasium_environment")) -> Path:
    """Trains both, plays an episode with each agent as Gymnasium has it, and returns the figure's path."""
    settings = {"steps": 5000, **parse_words(words)}
    out = Path(settings.pop("out", out))
    runs = {}
    for name, task in TASKS.items():
        runs[name] = run = diffmaac.train(task, out=str(out / name.split()[0]), **settings)
        print(f"{name}: return {run.evaluation.metrics()['return']:.1f}")
        print(f"  an episode of gymnasium.make('Pendulum-v1'): {episode(run.agent):.1f}")
    figure = out / "gymnasium_environment.png"
    learning_curve([run.path for run in runs.values()], figure, list(runs))
    print(f"figure: {figure}")
    return figure


def episode(agent: diffmaac.Agent) -> float:
    """The return of one episode; the agent acts in the environment's own units."""
    env, total, over = gymnasium.make("Pendulum-v1"), 0.0, False
    obs, _ = env.reset(seed=0)
    while not over:
        action, _ = agent.predict(obs, deterministic=True)
        obs, earned, terminated, truncated, _ = env.step(action)
        total, over = total + float(earned), terminated or truncated
    env.close()
    return total


if __name__ == "__main__":
    main(sys.argv[1:])
