"""At which horizon does a learned model stop helping? The gradient's error against H, where it is known exactly.

python examples/gradient_error_vs_horizon.py                     the double integrator, three seeds, a minute
python examples/gradient_error_vs_horizon.py process_std=0       data without noise: a model that does not err
python examples/gradient_error_vs_horizon.py seeds=8 gamma=0.95  any setting of `diffmaac gradient-error`
"""

import sys
from pathlib import Path

from diffmaac.commands.gradient_error import GradientErrorSettings, measure
from diffmaac.config import parse_command


def main(words: list[str], out: Path = Path("runs/gradient_error_vs_horizon")) -> Path:
    """Fits model and critic to a linear policy's data, and returns the figure's path."""
    given = {word.partition("=")[0] for word in words}
    defaults = {"env": "double_integrator", "seeds": "3", "out": str(out)}
    words = [*words, *(f"{name}={value}" for name, value in defaults.items() if name not in given)]
    report = measure("", parse_command(GradientErrorSettings, words))
    for line in report.lines:
        print(line)
    print(f"figure: {report.files[1]}")
    return report.files[1]


if __name__ == "__main__":
    main(sys.argv[1:])
