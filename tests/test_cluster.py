"""`engine=ray`: a local Ray whose worker is killed in the middle loses nothing, and trains what processes train."""

import ast
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.runs import TINY, numbers, refused, tiny, words

from diffmaac.experiments.make import engine_of
from diffmaac.experiments.settings import EngineSettings
from diffmaac.runs.metrics import read_metrics
from diffmaac.runs.state import state_of

ray = pytest.importorskip("ray")
LONG: dict[str, Any] = {**TINY, "env": "double_integrator", "steps": 240}


def training(pids: set[int]) -> set[int]:
    """Processes of Ray that work on a task of ours, by what they call themselves, without those that they fork."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, stat = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
            except OSError:
                continue
            if name.startswith(b"ray::double_integrator") and int(entry.name) not in pids:
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return {pid for pid, parent in parents.items() if parent not in parents}


def stored_step(snapshots: Path) -> int:
    """The step of the last snapshot of a run; 0 where there is none."""
    return max((int(file.name[:12]) for file in snapshots.glob("*.tar")), default=0)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the worker is found by Linux's /proc")
@pytest.mark.parametrize("shared", [True, False])
def test_a_killed_worker_loses_nothing(shared: bool, tmp_path: Path) -> None:
    """Two runs on two workers, in a folder that all share, or in folders of their own and a store.

    One worker is killed once its run has a checkpoint in the middle.
    """
    words_of = LONG if shared else {**LONG, "steps": 480}
    command = [sys.executable, "-m", "diffmaac.cli", "sweep", *words(**words_of), "seed=0..1", "engine=ray", "jobs=2"]
    command += ["memory=0.1", f"out={tmp_path}/sweep"] + ([] if shared else [f"storage=file://{tmp_path}/store"])
    before = training(set())
    sweep = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    victim = tmp_path / "sweep" / "double_integrator-maac-s0"
    deadline = time.monotonic() + 240

    def kept() -> int:
        rows = read_metrics(victim / "metrics.csv")
        return int(rows[-1]["step"]) if rows else stored_step(tmp_path / "store" / victim.name)

    while kept() < 80:
        assert sweep.poll() is None and time.monotonic() < deadline, sweep.communicate()
        time.sleep(0.02)
    workers = {p for p in training(before) if b"s0" in Path(f"/proc/{p}/cmdline").read_bytes()}
    assert len(workers) == 1
    os.kill(workers.pop(), signal.SIGKILL)
    assert kept() < words_of["steps"], "it was killed in the middle"
    assert victim.is_dir() is shared, "a worker with a store trains in a folder of its own"
    _, error = sweep.communicate(timeout=300)
    assert sweep.returncode == 0 and "left out" not in error, error
    assert (victim.parent / f"{victim.name}.log").read_text().count("run directory:") == 2
    for seed in (0, 1):
        run = tmp_path / "sweep" / f"double_integrator-maac-s{seed}"
        alone = tiny(tmp_path / f"alone{seed}", **words_of | {"seed": seed, "threads": 1})
        assert state_of(run).state == "done" and numbers(run) == numbers(alone)


RESOURCES = """
import logging, sys
from pathlib import Path
from diffmaac.experiments.cluster import RayEngine
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.settings import EngineSettings

def held(fields, storage):
    import ray
    (fields["folder"] / "held").write_text(str(ray.get_runtime_context().get_assigned_resources()))
    return 0

run = PlannedRun(Path(sys.argv[1]), "pendulum", "maac", "maac", {"threads": 2, "seed": 0, "steps": 1})
engine = RayEngine(EngineSettings(engine="ray", jobs=2, memory=0.25), held)
assert engine.outcome(run, engine.start(run)) == ""
engine._settings = EngineSettings(engine="ray", jobs=2, memory=1e5)
try:
    engine.start(run)
except ValueError as error:
    print(error)
engine._settings = EngineSettings(engine="ray", address="a cluster that may grow", gpus=64)
logging.basicConfig(stream=sys.stdout)
engine.start(PlannedRun(run.folder, "pendulum", "maac", "maac", {**run.words, "device": "cuda"}))
"""


def test_a_run_holds_the_resources_that_settings_say(tmp_path: Path) -> None:
    """Ray counts them: what no node has is refused, and on a cluster, which may grow, told."""
    command = [sys.executable, "-W", "ignore", "-c", RESOURCES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    held = ast.literal_eval((tmp_path / "held").read_text())
    assert held["CPU"] == 2 and held["memory"] == 0.25e9 and "GPU" not in held
    refusal, warning = done.stdout.splitlines()
    assert refusal.startswith("pendulum-maac-s0: no node has room for a run of 2 CPU (the most is 2 CPU), 0 GPU")
    assert "1e+05 GB of memory (the most is" in refusal and refusal.endswith(
        "Give less threads=, gpus= or memory=, or more jobs=."
    )
    assert "64 GPU (the most is 0 GPU)" in warning and warning.endswith("it waits for one to join the cluster.")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers: [Errno 111] Connection refused."),
        ("ray://127.0.0.1:9", "no Ray cluster answers"),
        ("nonsense", "must be host:port, ray://host:port or auto."),
        ("192.0.2.1:6379", "no Ray cluster answers"),  # an address for documentation, behind which is nobody
    ],
)
def test_an_address_that_does_not_answer_is_one_line_in_ten_seconds(address: str, message: str, tmp_path, capsys):
    before = time.monotonic()
    line = refused("sweep", "seed=0", "engine=ray", f"address={address}", f"out={tmp_path}/x", capsys=capsys)
    assert message in line and time.monotonic() - before < 10
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_no_ray_is_told_in_ten_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        guests: list[socket.socket] = []
        threading.Thread(target=lambda: guests.append(server.accept()[0]), daemon=True).start()
        before = time.monotonic()
        with pytest.raises(ValueError, match="something else than Ray listens there"):
            engine_of(EngineSettings(engine="ray", address=f"127.0.0.1:{server.getsockname()[1]}"))
        assert time.monotonic() - before < 10
        for guest in guests:
            guest.close()


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    line = refused("sweep", "seed=0", "engine=ray", f"out={tmp_path}/x", capsys=capsys)
    assert "Ray is not installed. `pip install diffmaac[ray]` does." in line


def test_ray_is_loaded_only_where_it_is_asked_for() -> None:
    code = "import sys, diffmaac; diffmaac.sweep, diffmaac.reproduce\n"
    code += "import diffmaac.experiments.make\nsys.exit('ray' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
