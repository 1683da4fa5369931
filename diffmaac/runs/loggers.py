"""Where a run's numbers go beside metrics.csv: one interface, and one class for each service, loaded when asked for.

No service asks for credentials here, and none are stored: what their own environment variables and files say is used.
"""

import abc
import fcntl
import importlib.util
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffmaac.errors import SettingError
from diffmaac.files import named, read_json, write_json
from diffmaac.runs.layout import LOGS, TENSORBOARD
from diffmaac.settings import Settings, flatten

PROJECT = "diffmaac"
"""The project or experiment that runs belong to, where the service's own environment variable names no other."""
Row = Mapping[str, float]


class AbstractLogger(abc.ABC):
    """One place to log to. A run that is taken up again goes on with the record that it had."""

    @abc.abstractmethod
    def add(self, row: Row) -> None:
        """Logs the numbers of an evaluation at environment step ``row["step"]``."""

    @abc.abstractmethod
    def close(self) -> None:
        """Writes what is not written yet."""


class TensorBoardLogger(AbstractLogger):
    """Event files in the run's directory. Events after `step` are work that was lost."""

    def __init__(self, folder: Path, step: int, settings: Settings):
        from torch.utils.tensorboard import SummaryWriter

        self._events = folder / TENSORBOARD
        with named(self._events):
            self._board = SummaryWriter(str(self._events), purge_step=step + 1)

    def add(self, row: Row) -> None:
        with named(self._events):
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["step"]))
            self._board.flush()

    def close(self) -> None:
        with named(self._events):
            self._board.close()


class WandbLogger(AbstractLogger):
    """Weights & Biases. Without credentials, or with WANDB_MODE=offline, in RUN/wandb, which `wandb sync` uploads."""

    def __init__(self, folder: Path, step: int, settings: Settings):
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(folder.resolve()),
            id=record_of(folder, "wandb", lambda: secrets.token_hex(4)),
            name=folder.name,
            config=flatten(settings),
            resume="allow",
            mode=mode,  # pyright: ignore[reportArgumentType]
            reinit="create_new",
            settings={"silent": True, "console": "off"},
        )

    def add(self, row: Row) -> None:
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        self._run.finish()


class MlflowLogger(AbstractLogger):
    """MLflow, at MLFLOW_TRACKING_URI; else in the SQLite file mlflow.db beside the run's directory."""

    def __init__(self, folder: Path, step: int, settings: Settings):
        from mlflow.entities import Metric

        self._metric = Metric
        beside = folder.resolve().parent
        with (beside / ".mlflow.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # MLflow makes the tables of a new file, and two at a time fail
            self._client = _mlflow_client(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside}/mlflow.db")
            self._id = record_of(folder, "mlflow", lambda: _mlflow_run(self._client, folder.name, settings))
        self._client.set_terminated(self._id, "RUNNING")

    def add(self, row: Row) -> None:
        now, step = int(1000 * time.time()), int(row["step"])
        self._client.log_batch(self._id, [self._metric(name, float(value), now, step) for name, value in row.items()])

    def close(self) -> None:
        self._client.set_terminated(self._id)


def _mlflow_client(uri: str) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    client.search_experiments(max_results=1)  # which makes the tables
    return client


def _mlflow_run(client: Any, name: str, settings: Settings) -> str:
    """A new run with the settings as parameters, in the experiment of MLFLOW_EXPERIMENT_NAME."""
    from mlflow import entities

    param: Any = entities.Param  # which has no annotations
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment)
    run = client.create_run(number, run_name=name)
    params: list[Any] = [param(key, str(value)) for key, value in flatten(settings).items()]
    client.log_batch(run.info.run_id, params=params)
    return run.info.run_id


class TrackioLogger(AbstractLogger):
    """Trackio, in the directory that TRACKIO_DIR names, else in Trackio's own; `trackio show` draws it."""

    def __init__(self, folder: Path, step: int, settings: Settings):
        import trackio  # pyright: ignore[reportMissingImports]

        name = record_of(folder, "trackio", lambda: f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(project=project, name=name, config=flatten(settings), resume="allow", embed=False)

    def add(self, row: Row) -> None:
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, int, Settings], AbstractLogger]] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
    "trackio": TrackioLogger,
}


def check_installed(settings: Settings) -> None:
    """Raises SettingError where a package that `log=` needs is missing, naming the extra that brings it."""
    for name in settings.report.log:
        spec = importlib.util.find_spec(name) if name in LOGGERS else None
        if name in LOGGERS and (spec is None or spec.origin is None):  # a folder of that name is no package
            raise SettingError(f"log={name}: the package {name} is not installed. `pip install diffmaac[{name}]` does.")


def loggers_of(folder: Path, step: int, settings: Settings) -> list[AbstractLogger]:
    """Those that `log=` names, for the run in `folder` that begins or goes on at `step`."""
    check_installed(settings)
    return [LOGGERS[name](folder, step, settings) for name in dict.fromkeys(settings.report.log) if name in LOGGERS]


def record_of(folder: Path, service: str, create: Callable[[], str]) -> str:
    """The id under which `service` knows the run, made by `create` where it has none yet, and kept in logs.json."""
    known = read_json(folder / LOGS, dict) or {}
    if service not in known:
        known[service] = create()
        write_json(folder / LOGS, known)
    return known[service]
