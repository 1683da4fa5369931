"""A training at the paper's settings, as far as its time goes."""

from pathlib import Path

import diffmaac
from diffmaac.analysis.plots import learning_curve
from diffmaac.files import write_table
from diffmaac.runs.metrics import read_metrics
from gpu_parts.table import CHEETAH, GpuSettings, Row, Table
from shared import script


def run_folder(settings: GpuSettings) -> Path:
    return Path(settings.out) / ("pendulum-quick" if settings.quick else f"{CHEETAH}-paper")


def train(settings: GpuSettings, table: Table) -> None:
    """Until the time is over; another call goes on where the last checkpoint stands."""
    run = run_folder(settings)
    if (run / "checkpoint").is_dir():
        diffmaac.train(resume=str(run), progress=False)
        return
    words: Row = {"env": CHEETAH, "preset": "paper", "steps": 50_000, "log": "csv"}
    if settings.quick:
        words = {"env": "pendulum", "steps": 120, "random_steps": 100, "epoch_steps": 40, "imagined_states": 100}
        words |= {"model_epochs": 1, "eval_episodes": 1, "final_episodes": 1}
    words["device"] = settings.device
    diffmaac.train(**words, out=str(run), progress=False)


def report_training(settings: GpuSettings) -> None:
    """The rows and the curve of the run, however far it has come."""
    rows = read_metrics(run_folder(settings) / "metrics.csv")
    if rows:
        file = script.output(settings.out, "gpu_train.csv")
        write_table(file, rows)
        learning_curve([run_folder(settings)], file.with_suffix(".png"), title=f"{CHEETAH}, {settings.device}")
        script.show({"part": "train", **{name: rows[-1][name] for name in ("step", "seconds", "return")}})
