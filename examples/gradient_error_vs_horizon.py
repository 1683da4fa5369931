"""At which horizon does a learned model stop helping? The gradient's error against H, where it is known exactly.

python examples/gradient_error_vs_horizon.py                     the double integrator, three seeds, a minute
python examples/gradient_error_vs_horizon.py process_std=0       data without noise: a model that does not err
python examples/gradient_error_vs_horizon.py seeds=8 gamma=0.95  any setting of `diffmaac gradient-error`
"""

import sys
from pathlib import Path
from typing import Any

import diffmaac
from diffmaac.settings import parse_words


def main(words: list[str], out: Path = Path("runs/gradient_error_vs_horizon")) -> Path:
    """Fits model and critic to a linear policy's data, and returns the figure's path."""
    settings: dict[str, Any] = {"env": "double_integrator", "seeds": 3, "out": out, **parse_words(words)}
    result = diffmaac.gradient_error(**settings)
    print(*result.notes, sep="\n")
    table, figure = result.files
    print(f"table: {table}, figure: {figure}")
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
