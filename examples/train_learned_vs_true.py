"""The same algorithm through two dynamics: a learned ensemble, and MuJoCo itself. One figure.

python examples/train_learned_vs_true.py                       pendulum, about eight minutes on two cores
python examples/train_learned_vs_true.py env=cartpole seed=1   any setting of `diffmaac train` but dynamics, out
"""

import sys
from pathlib import Path

import diffmaac
from diffmaac.analysis.plots import learning_curve
from diffmaac.settings import parse_words


def main(words: list[str], out: Path = Path("runs/learned_vs_true")) -> Path:
    """Trains both, evaluates both, and returns the figure's path."""
    settings = {"env": "pendulum", **parse_words(words)}
    out = Path(settings.pop("out", out))
    runs = {name: diffmaac.train(dynamics=name, out=str(out / name), **settings) for name in ("learned", "true")}
    for name, run in runs.items():
        print(f"{name} dynamics: return {run.evaluation.metrics()['return']:.1f}")
    figure = out / "learned_vs_true.png"
    learning_curve([run.path for run in runs.values()], figure, [f"{name} dynamics" for name in runs])
    print(f"figure: {figure}")
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
