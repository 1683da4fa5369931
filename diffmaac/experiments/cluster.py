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
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffmaac.errors import SettingError, one_line
from diffmaac.experiments.engine import AbstractEngine, failure
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.settings import EngineSettings
from diffmaac.experiments.storage import Store

_LOGGER = logging.getLogger(__name__)
ANSWER = 8.0
"""Seconds within which a cluster has to answer."""
ENDLESS = sys.maxsize
Work = Callable[[dict[str, Any], str], int]
"""Trains a run, of which it is given the fields, in the process of a worker; the exit code of its command line. The
text is the URL of a `Store`, or empty where all nodes share the run's folder."""


def train_here(fields: dict[str, Any], storage: str) -> int:
    """`diffmaac train` in this process, with its output in <run>.log.

    It takes the run up where its checkpoint stands, so that a task whose worker was lost goes on elsewhere.
    """
    run = PlannedRun(**fields)
    if storage:
        return _with_store(run, Store(storage))
    if not run.folder.is_dir():
        raise FileNotFoundError(
            f"'{run.folder}' is not on {socket.gethostname()}. All nodes must share it, or storage= must name a store."
        )
    return _train(run)


def _with_store(run: PlannedRun, store: Store) -> int:
    """Trains in a folder of this node alone, from the last snapshot in the store on, and stores what comes of it."""
    with tempfile.TemporaryDirectory(prefix="diffmaac-") as folder:
        here = run.at(Path(folder))
        store.restore(here)
        with store.following(here):
            code = _train(here)
        store.put(here)
    return code


def _train(run: PlannedRun) -> int:
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
    times. Directories are shared by all nodes, at the same path, or runs are kept in a store, and copied here as they
    end. Raises SettingError where Ray is not installed, or the cluster or the store does not answer.
    """

    def __init__(self, settings: EngineSettings, work: Work = train_here):
        try:
            import ray
        except ImportError as error:
            raise SettingError("engine=ray: Ray is not installed. `pip install diffmaac[ray]` does.") from error
        self._ray, self._settings = ray, settings
        self._store = Store(settings.storage) if settings.storage else None
        if settings.address:
            _check_answer(settings.address)
        if not ray.is_initialized():
            _connect(settings)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.slots = settings.jobs or ENDLESS
        self.parallel = settings.jobs or cores
        self._task = ray.remote(max_retries=settings.retries)(work)
        self._checked: set[tuple[float, ...]] = set()

    def start(self, run: PlannedRun) -> Any:
        resources = self._resources(run)
        self._check_room(run, resources)
        absolute = run.at(run.folder.resolve())
        absolute.folder.mkdir(parents=True, exist_ok=True)
        self._hand_over(absolute)
        fields = {f.name: getattr(absolute, f.name) for f in dataclasses.fields(absolute)}
        options = {"num_cpus": resources["CPU"], "num_gpus": resources["GPU"], "memory": resources["memory"] or None}
        url = self._store.url if self._store is not None else ""
        return self._task.options(name=run.name, **options).remote(fields, url)

    def _resources(self, run: PlannedRun) -> dict[str, float]:
        """What a run holds while it trains, under Ray's names; memory in bytes."""
        on_gpu = run.words.get("device", "cpu") != "cpu"
        gpus = self._settings.gpus if on_gpu else 0
        return {"CPU": run.threads, "GPU": gpus, "memory": int(1e9 * self._settings.memory)}

    def _check_room(self, run: PlannedRun, wanted: Mapping[str, float]) -> None:
        """A run that no node has room for would wait without a word: a warning, or where no node can join, an error."""
        if (asked := tuple(wanted.values())) in self._checked:
            return
        self._checked.add(asked)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            return
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
        told = [f"{_amount(name, wanted[name])} (the most is {_amount(name, most[name])})" for name in wanted]
        line = f"{run.name}: no node has room for a run of {', '.join(told)}"
        if not self._settings.address:
            raise SettingError(f"{line}. Give less threads=, gpus= or memory=, or more jobs=.")
        _LOGGER.warning("%s; it waits for one to join the cluster.", line)

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        return self._ray.wait(list(handles), num_returns=1)[0]

    def outcome(self, run: PlannedRun, handle: Any) -> str:
        try:
            code = self._ray.get(handle)
            return self._fetch(run) or failure(run, code)
        except self._ray.exceptions.RayTaskError as error:
            return f"{run.name}: {one_line(error.cause or error)}"
        except self._ray.exceptions.RayError as error:
            self._fetch(run)
            lost = f"its worker was lost, {self._settings.retries} retries among them" if self._settings.retries else ""
            return f"{run.name}: {lost or 'its worker was lost'}: {one_line(error).partition('. ')[0]}."

    def _hand_over(self, run: PlannedRun) -> None:
        """Puts what is here of a run into the store, where there is one that has less of it."""
        if self._store is None or not run.path.is_dir():
            return
        try:
            if not self._store.ahead(run):
                self._store.put(run)
        except Exception as error:  # of any package that serves a kind of store
            raise SettingError(f"{run.name}: it cannot be put into {self._store.url}: {one_line(error)}") from error

    def _fetch(self, run: PlannedRun) -> str:
        """Brings a run here from the store, where there is one. What went wrong, in one line; empty where nothing."""
        if self._store is None:
            return ""
        try:
            if self._store.restore(run):
                return ""
            return f"{run.name}: nothing of it is in {self._store.url}. All nodes must reach it."
        except Exception as error:  # of any package that serves a kind of store
            return f"{run.name}: it cannot be fetched from {self._store.url}: {one_line(error)}"

    def stop(self, handles: Sequence[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle, force=True)


def _amount(resource: str, amount: float) -> str:
    return f"{amount / 1e9:.3g} GB of memory" if resource == "memory" else f"{amount:g} {resource}"


def _connect(settings: EngineSettings) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if settings.address:
            ray.init(address=settings.address, **quiet)
        else:
            ray.init(address="local", num_cpus=settings.jobs or None, include_dashboard=False, **quiet)
    except Exception as error:  # Ray raises plain ones, too
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
