"""Runs as tasks of a Ray cluster. The only module that imports Ray, and loaded by `engine=ray` alone."""

import contextlib
import dataclasses
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from diffmaac.errors import SettingError, one_line
from diffmaac.experiments.engine import AbstractEngine, failure
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.settings import EngineSettings

_LOGGER = logging.getLogger(__name__)
ANSWER = 8.0
"""Seconds within which a cluster has to answer."""
ENDLESS = sys.maxsize
Work = Callable[[dict[str, Any]], int]
"""Trains a run, of which it is given the fields, in the process of a worker; the exit code of its command line."""


def train_here(fields: dict[str, Any]) -> int:
    """`diffmaac train` in this process, with its output in <run>.log.

    It takes the run up where its checkpoint stands, so that a task whose worker was lost goes on elsewhere.
    """
    run = PlannedRun(**fields)
    if not run.folder.is_dir():
        raise FileNotFoundError(f"'{run.folder}' is not on {socket.gethostname()}: all nodes must share it.")
    before = signal.getsignal(signal.SIGTERM)  # the command line takes it for itself
    with run.log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            sys.argv = ["diffmaac", "train", *run.arguments()]
            runpy.run_module("diffmaac.cli", run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
    return 0


class RayEngine(AbstractEngine):
    """One task a run, which holds as many CPUs as the run has threads, and GPUs where it may use one.

    A worker trains one run after another (on a GPU each has a process of its own, as Ray has it); a run depends on
    nothing that another leaves in a process. Where a worker or node is lost, Ray runs its task again, at most `retries`
    times. Directories are shared by all nodes, at the same path. Raises SettingError where Ray is not installed, or the
    cluster does not answer.
    """

    def __init__(self, settings: EngineSettings, work: Work = train_here):
        try:
            import ray
        except ImportError as error:
            raise SettingError("engine=ray: Ray is not installed. `pip install diffmaac[ray]` does.") from error
        self._ray, self._settings = ray, settings
        if settings.address:
            _check_answer(settings.address)
        if not ray.is_initialized():
            _connect(settings)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.slots = settings.jobs or ENDLESS
        self.parallel = settings.jobs or cores
        self._task = ray.remote(max_retries=settings.retries)(work)

    def start(self, run: PlannedRun) -> Any:
        on_gpu = run.words.get("device", "cpu") != "cpu"
        options = {"num_cpus": run.threads, "num_gpus": self._settings.gpus if on_gpu else 0, "name": run.name}
        absolute = run.at(run.folder.resolve())
        absolute.folder.mkdir(parents=True, exist_ok=True)
        return self._task.options(**options).remote(
            {f.name: getattr(absolute, f.name) for f in dataclasses.fields(absolute)}
        )

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        return self._ray.wait(list(handles), num_returns=1)[0]

    def outcome(self, run: PlannedRun, handle: Any) -> str:
        try:
            return failure(run, self._ray.get(handle))
        except self._ray.exceptions.RayTaskError as error:
            return f"{run.name}: {one_line(error.cause or error)}"
        except self._ray.exceptions.RayError as error:
            lost = f"its worker was lost, {self._settings.retries} retries among them" if self._settings.retries else ""
            return f"{run.name}: {lost or 'its worker was lost'}: {one_line(error).partition('. ')[0]}."

    def stop(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle, force=True)


def _connect(settings: EngineSettings) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if settings.address:
            ray.init(address=settings.address, **quiet)
        else:
            ray.init(address="local", num_cpus=settings.jobs or None, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SettingError(_silent(settings.address, one_line(error))) from error


def _check_answer(address: str) -> None:
    """Raises SettingError where no Ray answers at `address` within `ANSWER` seconds; Ray itself waits for minutes."""
    if address == "auto":
        if not os.environ.get("RAY_ADDRESS"):
            return  # a cluster of this machine, whose file Ray looks up at once
        address = os.environ["RAY_ADDRESS"]
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise SettingError(f"address={address}: must be host:port, ray://host:port or auto.")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER / 2).close()
    except (OSError, OverflowError) as error:
        raise SettingError(_silent(address, one_line(error))) from error
    if not address.startswith("ray://"):
        command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        try:
            healthy = subprocess.run(command, capture_output=True, timeout=ANSWER).returncode == 0
        except subprocess.TimeoutExpired:
            healthy = False
        if not healthy:
            raise SettingError(_silent(address, "something else than Ray listens there"))


def _silent(address: str, reason: str) -> str:
    told = f"address={address}: no Ray cluster answers" if address else "engine=ray: Ray cannot be started here"
    return f"{told}: {reason.rstrip('.')}. `ray status` on the cluster's head shows whether it runs, and where."
