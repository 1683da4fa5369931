"""A model that predicts well can still have wrong derivatives: both, on states that it has not seen.

python examples/model_gradient_accuracy.py                          pendulum, two minutes
python examples/model_gradient_accuracy.py env=half_cheetah steps=5000
"""

import sys
from pathlib import Path

import diffmaac
from diffmaac.commands.model_error import ModelErrorSettings, measure
from diffmaac.config import parse_words


def main(words: list[str], out: Path = Path("runs/model_gradient_accuracy")) -> list[Path]:
    """Trains a run, looks at its model, and returns the table's and the figures' paths."""
    settings = {"env": "pendulum", "steps": 2000, "final_episodes": 1, **parse_words(words)}
    run = diffmaac.train(out=str(out), **settings)
    report = measure(str(run.path), ModelErrorSettings())
    for line in report.lines:
        print(line)
    print("figures:", *report.files[1:])
    return report.files


if __name__ == "__main__":
    main(sys.argv[1:])
