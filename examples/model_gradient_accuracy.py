"""A model that predicts well can still have wrong derivatives: both, on states that it has not seen.

python examples/model_gradient_accuracy.py                          pendulum, two minutes
python examples/model_gradient_accuracy.py env=half_cheetah steps=5000
"""

import sys
from pathlib import Path
from typing import Any

import diffmaac
from diffmaac.settings import parse_words


def main(words: list[str], out: Path = Path("runs/model_gradient_accuracy")) -> list[Path]:
    """Trains a run, looks at its model, and returns the paths of tables and figures."""
    settings: dict[str, Any] = {"env": "pendulum", "steps": 2000, "final_episodes": 1, "out": out}
    run = diffmaac.train(**settings | parse_words(words))
    result = diffmaac.model_error(run.path)
    print(*result.notes, sep="\n")
    print("files:", *result.files)
    return list(result.files)


if __name__ == "__main__":
    main(sys.argv[1:])
