"""The best policy of a run so far, kept beside its last checkpoint."""

import logging
import math
from pathlib import Path
from typing import Any

from diffmaac.errors import CheckpointError
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import BEST
from diffmaac.task import Task
from diffmaac.training.evaluation import Evaluation

_LOGGER = logging.getLogger(__name__)
FEWEST = 5
"""Episodes of an evaluation, at least, that a policy can be the best by: of three, one lucky start makes a quartile."""


def keep_if_best(run: Path, task: Task, policy: SquashedGaussianPolicy, step: int, evaluation: Evaluation) -> bool:
    """Keeps the policy of environment step `step` where the lower quartile of its returns is above all before.

    The lower quartile, because a policy that falls in one episode of three is not a good one, however fast it is in the
    others. Says whether it was kept; of fewer than `FEWEST` episodes none is.
    """
    score = evaluation.quartiles[0]
    if len(evaluation.returns) < FEWEST or score <= _score(run):
        return False
    state: dict[str, Any] = {"task": task.fingerprint(), "agent": {"policy": policy.state_dict()}, "score": score}
    checkpoint.save(run / BEST, step, state)
    return True


def _score(run: Path) -> float:
    """Of the best policy so far; minus infinity where there is none, or where it cannot be read."""
    if not (run / BEST).is_dir():
        return -math.inf
    try:
        return float(checkpoint.load(run / BEST)[1]["score"])
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        _LOGGER.warning("the best policy so far is lost, the next evaluation replaces it: %s", error)
        return -math.inf
