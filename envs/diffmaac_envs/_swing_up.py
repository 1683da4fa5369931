"""What the two swing-up tasks share: where the models lie, and when a pole counts as balanced."""

from pathlib import Path

from torch import Tensor

from diffmaac.task import Criterion

ASSETS = Path(__file__).parent / "assets"


def balanced(cos_index: int) -> Criterion:
    """Swung up and balanced: the mean of cos(theta) over the second half of the episode is above 0.95."""

    def score(obs: Tensor) -> float:
        return float(obs[obs.shape[0] // 2 :, cos_index].mean())

    return Criterion("mean cos(theta) over the second half", score, 0.95)
