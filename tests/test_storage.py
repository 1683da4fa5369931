"""Runs in a store that fsspec reaches: what is taken out of it is what was put in, and goes on as it would have."""

import dataclasses
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.runs import TINY, numbers, refused, tiny

import diffmaac
from diffmaac.experiments import cluster, storage
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.storage import KEPT, Store
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT
from diffmaac.runs.lock import claimed
from diffmaac.runs.state import state_of

WORDS: dict[str, Any] = {**TINY, "seed": 0}


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield Store("memory://runs/sweep" if request.param == "memory" else f"file://{tmp_path}/store")
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/runs", recursive=True)


def run_in(folder: Path) -> PlannedRun:
    return PlannedRun(folder, "double_integrator", "maac", "maac", WORDS)


def trained(folder: Path, steps: int) -> PlannedRun:
    """A run in `folder` up to `steps`, with the log of its command line beside it."""
    run = run_in(folder)
    folder.mkdir(exist_ok=True)
    tiny(run.path, **WORDS | {"steps": steps})
    run.log.write_text(f"up to {steps}\n")
    return run


def content(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of all files in a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_comes_out_as_it_was_put_in(store: Store, tmp_path: Path) -> None:
    """Its lock stays, and what was there in its place goes."""
    run, elsewhere = trained(tmp_path / "here", 40), run_in(tmp_path / "there")
    assert not store.restore(elsewhere) and not store.ahead(run) and store.snapshots(run) == []
    elsewhere.path.mkdir(parents=True)
    (elsewhere.path / "old").write_text("old")
    with claimed(run.path, "the run"):
        store.put(run)
    assert store.ahead(run) and store.restore(elsewhere)
    kept = {name: data for name, data in content(run.folder).items() if not name.endswith(".lock")}
    assert content(elsewhere.folder) == kept and f"{run.name}.log" in kept


def test_a_run_goes_on_elsewhere_to_the_bit(store: Store, tmp_path: Path) -> None:
    """From each of its checkpoints that the store has."""
    whole = tiny(tmp_path / "whole", **WORDS)
    store.put(trained(tmp_path / "here", 80))
    there = run_in(tmp_path / "there")
    assert store.restore(there)
    diffmaac.train(resume=str(there.path), steps=WORDS["steps"], progress=False)
    assert numbers(there.path) == numbers(whole)
    store.put(there)
    assert store.ahead(there) and not Store(f"{store.url}/other").ahead(there)


@pytest.mark.filterwarnings("ignore:'diffmaac.cli' found in sys.modules")  # so tests have loaded it before
def test_a_worker_takes_a_run_up_from_the_store_and_leaves_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray calls in its process: as after a node that was lost at step 80. The folder of the run is not its own."""
    whole = tiny(tmp_path / "whole", **WORDS)
    store.put(trained(tmp_path / "lost", 80))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", [])
    before = sorted(tmp_path.iterdir())
    run = run_in(Path("/not/on/this/node"))
    fields = {f.name: getattr(run, f.name) for f in dataclasses.fields(run)}
    assert cluster.train_here(fields, store.url) == 0
    assert sorted(tmp_path.iterdir()) == before
    there = run_in(tmp_path / "there")
    assert store.restore(there) and numbers(there.path) == numbers(whole)
    assert state_of(there.path).state == "done" and "up to 80" in there.log.read_text()
    with pytest.raises(FileNotFoundError, match="All nodes must share it, or storage= must name a store"):
        cluster.train_here(fields, "")


def test_a_damaged_snapshot_is_passed_over(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As an upload leaves it whose node is lost in the middle; only so many are kept as are needed for that."""
    run = trained(tmp_path / "here", 40)
    for _ in range(KEPT + 1):
        store.put(run)
    names = store.snapshots(run)
    assert len(names) == KEPT
    path = f"{store._at(run)}/{names[-1]}"
    store._files.pipe_file(path, store._files.cat_file(path)[:-700])
    there = run_in(tmp_path / "there")
    with caplog.at_level(logging.WARNING, "diffmaac"):
        assert store.restore(there)
    assert "is damaged; the one before it is taken" in caplog.text
    assert content(there.path / CHECKPOINT) == content(run.path / CHECKPOINT)


def test_each_checkpoint_is_stored_while_the_run_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "EVERY", 0.01)
    run, steps = run_in(tmp_path), list[int]()
    put = store.put

    def noted(run: PlannedRun) -> None:
        put(run)
        steps.append(int(store.snapshots(run)[-1][:12]))

    monkeypatch.setattr(store, "put", noted)
    with store.following(run):
        trained(tmp_path, 120)
        stored = threading.Event()
        while not steps or steps[-1] < 120:  # the last look may be under way
            stored.wait(0.01)
    assert steps == sorted(steps) and len(steps) >= 2
    there = run_in(tmp_path / "there")
    assert store.restore(there) and checkpoint.load(there.path / CHECKPOINT)[0] == 120


def test_a_checkpoint_that_is_replaced_meanwhile_is_read_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot never holds a manifest without its tensors."""
    run, write, begun = trained(tmp_path / "here", 40), storage._write, list[int]()

    def overtaken(run: PlannedRun, file: Path) -> None:
        begun.append(1)
        write(run, file)
        if len(begun) == 1:
            step, state = checkpoint.load(run.path / CHECKPOINT)
            checkpoint.save(run.path / CHECKPOINT, step + 1, state)

    monkeypatch.setattr(storage, "_write", overtaken)
    store.put(run)
    assert len(begun) == 2 and store.snapshots(run)[-1].startswith("000000000041-")


STORES = {
    "nowhere://x": "storage=nowhere://x cannot be used: Protocol not known: nowhere",
    "s3://bucket/x": "storage=s3://bucket/x cannot be used: Install s3fs to access S3",
    "file:///dev/null/x": "storage=file:///dev/null/x cannot be used:",
}


@pytest.mark.parametrize("url", STORES)
def test_a_store_that_cannot_be_used_is_one_line(url: str, tmp_path: Path, capsys) -> None:
    pytest.importorskip("ray")
    line = refused("sweep", "seed=0", "engine=ray", f"storage={url}", f"out={tmp_path}/x", capsys=capsys)
    assert STORES[url] in line and list(tmp_path.iterdir()) == []


def test_a_store_without_a_cluster_is_refused(tmp_path: Path, capsys) -> None:
    line = refused("sweep", "seed=0", f"storage=file://{tmp_path}/store", f"out={tmp_path}/x", capsys=capsys)
    assert "is for a Ray cluster. Say engine=ray as well." in line and list(tmp_path.iterdir()) == []
