"""Where the parts of a run lie in its directory."""

import re
import time
from pathlib import Path

from diffmaac.errors import SettingError
from diffmaac.settings import RunSettings

CONFIG = "config.yaml"
"""The resolved settings."""
IDENTIFICATION = "identification.json"
"""A copy of the file of `identified=`, where the run has one."""
CHECKPOINT = "checkpoint"
"""The folder of the last checkpoint."""
BEST = "best"
"""The folder of the best policy so far."""
POLICIES = {"last": CHECKPOINT, "best": BEST}
"""Which policy of a run -> the folder that holds it."""
METRICS = "metrics.csv"
"""A row for each evaluation."""
EVALUATION = "evaluation.json"
"""The evaluation after training, and what it was made with."""
FAILURE = "failure.json"
"""Why the last training of the run failed; gone when it is taken up again."""
LOGS = "logs.json"
"""Service that logs -> the id under which it knows the run."""
TENSORBOARD, FIGURES, VIDEOS = "tensorboard", "figures", "videos"
LOCK = ".lock"


def create_directory(run: RunSettings) -> Path:
    """Makes the directory of a new run. Raises SettingError where it exists or cannot be made."""
    name = f"{re.sub('[/:]', '_', run.env)}-{run.algorithm}-{run.dynamics}-s{run.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = Path(run.out) if run.out else Path("runs") / name
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
        raise SettingError(
            f"run directory '{path}' exists. Continue it with resume={path}, or give another out=."
        ) from error
    except OSError as error:
        raise SettingError(f"run directory '{path}' cannot be made: {error.strerror}. Give another out=.") from error
    return path
