"""Runs at tiny size, and the command line called from Python."""

from pathlib import Path
from typing import Any

import pytest

import diffmaac
from diffmaac.cli import main
from diffmaac.runs.metrics import read_metrics

TINY: dict[str, Any] = {
    "steps": 120,
    "epoch_steps": 40,
    "random_steps": 50,
    "batch_size": 16,
    "actor_batch_size": 8,
    "updates_per_step": 1,
    "hidden": [16],
    "horizon": 2,
    "members": 3,
    "model_hidden": [16],
    "model_epochs": 2,
    "model_every": 25,
    "imagined_states": 50,
    "imagine_every": 10,
    "eval_episodes": 1,
    "final_episodes": 1,
    "log": "csv",
}
"""Settings at which a run takes seconds. Two of its three checkpoints fall inside an episode."""


def words(**settings) -> list[str]:
    return [f"{name}={str(value).replace(' ', '')}" for name, value in settings.items()]


def tiny(path: Path, **changes) -> Path:
    settings: dict[str, Any] = {"env": "double_integrator", **TINY, **changes}
    return diffmaac.train(**settings, out=str(path), progress=False).path


def numbers(run: Path) -> list[dict[str, str]]:
    """The metrics, without the wall time."""
    rows = read_metrics(run / "metrics.csv")
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def run(*arguments: str, capsys) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    out, err = capsys.readouterr()
    return int(exit.value.code or 0), out, err


def refused(*arguments: str, capsys) -> str:
    """The one clear line with which the command line refuses bad input: nothing else is printed, and the code is 2."""
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 2 and out == "" and err.count("\n") == 1 and "Traceback" not in err, (arguments, code, out, err)
    return err
