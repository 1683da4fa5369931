"""That the algorithm learns, at the settings that users get: minutes of training (`make test ARGS="-m slow"`)."""

from pathlib import Path
from typing import Literal

import pytest
import torch

import diffmaac
from diffmaac.analysis.linear_study import quadratic_cost
from diffmaac.analysis.lqr import riccati
from diffmaac.system import LinearSystem
from diffmaac.training.evaluation import run_episodes

pytestmark = pytest.mark.slow
EPISODES = 100


@pytest.mark.parametrize("dynamics", ["learned", "true"])
def test_pendulum_is_solved(dynamics: Literal["learned", "true"], tmp_path: Path) -> None:
    run = diffmaac.train(env="pendulum", dynamics=dynamics, out=str(tmp_path / "run"), progress=False)
    assert run.evaluation.solved == len(run.evaluation.returns) == 10
    assert run.best is not None and run.best.evaluation.solved == 10


@pytest.mark.parametrize("dynamics", ["learned", "true"])
def test_the_double_integrator_is_within_a_twentieth_of_the_optimum(
    dynamics: Literal["learned", "true"], tmp_path: Path
) -> None:
    """Undiscounted cost over the same episodes as the Riccati optimum's."""
    run = diffmaac.train(env="double_integrator", dynamics=dynamics, out=str(tmp_path / "run"), progress=False)
    agent = run.agent
    system = agent.task.system
    assert isinstance(system, LinearSystem)
    gain = torch.from_numpy(riccati(system.A, system.B, *quadratic_cost(agent.task))[0]).float()
    optimum = run_episodes(agent.task, lambda obs: -obs @ gain.T, EPISODES, seed=0)
    assert sum(agent.evaluate(EPISODES, seed=0).returns) > 1.05 * sum(optimum.returns)
