"""Installs the oldest versions that pyproject.toml allows into an environment of their own, and tries them.

python .ci/lower_bounds.py [FOLDER]      `make lower-bounds`; needs a package index, and downloads PyTorch
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXTRAS = ("video", "gymnasium")
PROGRAM = """
import diffmaac, torch
small = dict(steps=120, epoch_steps=60, random_steps=50, batch_size=16, actor_batch_size=8, hidden=[16], horizon=2,
             model_hidden=[16], model_epochs=2, imagined_states=50, eval_episodes=1, final_episodes=1)
for dynamics in ("learned", "true"):
    run = diffmaac.train(env="pendulum", dynamics=dynamics, out=dynamics, progress=False, **small)
print(diffmaac.evaluate(run.path, episodes=1).notes)
assert diffmaac.check_gradients(env="pendulum", states=4).passed
diffmaac.report(run.path)
"""


def oldest(requirement: str) -> str:
    """`name>=1.2,<2` -> `name==1.2`. Raises ValueError for a requirement without a lower bound."""
    found = re.match(r"([\w.-]+)(\[[\w,-]+\])?>=([\w.]+)", requirement)
    if found is None:
        raise ValueError(f"'{requirement}' has no lower bound; write name>=version.")
    return f"{found[1]}{found[2] or ''}=={found[3]}"


def requirements() -> list[str]:
    """The dependencies and those of the extras that users install, at their lower bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in EXTRAS for requirement in project["optional-dependencies"][extra]]
    return [oldest(requirement) for requirement in [*project["dependencies"], *extras]]


def main(folder: Path) -> None:
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    print("oldest versions:", *requirements())
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements()], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", ROOT], check=True)
    subprocess.run([python, "-c", PROGRAM], check=True, cwd=folder)
    print("the oldest versions work")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
