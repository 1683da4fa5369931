"""A disk without room: the run stops in order, says which file and which checkpoint is kept, and can go on."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.runs import TINY, numbers, run, tiny, words

import diffmaac
from diffmaac.errors import StorageError
from diffmaac.files import write_json, write_table
from diffmaac.runs import checkpoint
from diffmaac.runs.loggers import TensorBoardLogger
from diffmaac.runs.metrics import MetricsLog
from diffmaac.settings import Settings


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Files of this process end at `size` bytes: EFBIG, where a full disk has ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def tensors_at(step: int, folder: Path) -> int:
    """Bytes of the tensors of a tiny run's checkpoint."""
    path = tiny(folder / f"to-{step}", steps=step)
    return (path / "checkpoint" / f"state-{step}.safetensors").stat().st_size


def test_a_run_without_room_stops_at_a_checkpoint_and_goes_on_as_if_nothing_had_been(finished, tmp_path, capsys):
    path, room = tmp_path / "run", tensors_at(40, tmp_path)
    command = ["train", *words(env="double_integrator", **TINY), f"out={path}"]
    with no_file_above(room):
        code, out, err = run(*command, capsys=capsys)
    line = err.splitlines()[-1]
    assert code == 2 and out == "" and "Traceback" not in err
    assert line.startswith("diffmaac: stopped at environment step 80: ")
    assert f"{path}/checkpoint/state-80.safetensors: File too large" in line
    assert f"The checkpoint of step 40 is kept in {path}." in line and f"resume={path}`" in line
    assert sorted(p.name for p in (path / "checkpoint").iterdir()) == ["manifest.json", "state-40.safetensors"]
    assert diffmaac.load(path).step == 40
    diffmaac.train(resume=str(path), progress=False)
    assert numbers(path) == numbers(finished)


def test_a_run_that_cannot_begin_leaves_nothing_behind(tmp_path):
    with (
        no_file_above(5000),
        pytest.raises(StorageError, match=r"no run can be begun: .*state-0\.safetensors: File too"),
    ):
        tiny(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_that_cannot_be_written_is_made_on_resuming(tmp_path, monkeypatch):
    """Full at the very end: the run is whole, its evaluation is missing."""
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="checkpoint of step 40 is kept"):
        patch.setattr("diffmaac.runs.metrics.circumstances", lambda: {"machine": "x" * 100_000})
        with no_file_above(tensors_at(40, tmp_path) + 5000):
            tiny(tmp_path / "run", steps=40)
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith("evaluation")]
    assert diffmaac.train(resume=str(tmp_path / "run"), progress=False).evaluation.returns


def test_a_run_whose_directory_is_taken_away_stops_in_one_line(tmp_path, monkeypatch):
    path = tmp_path / "run"
    monkeypatch.setattr(MetricsLog, "add", lambda log, row: shutil.rmtree(path))
    with pytest.raises(
        StorageError, match=r"environment step 40: .*No such file.*There is no checkpoint in .* any more"
    ):
        tiny(path)
    assert not path.exists()


def test_events_that_cannot_be_written_are_named(tmp_path):
    class Full:
        def add_scalar(self, *_: object) -> None: ...

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    board = TensorBoardLogger(tmp_path, 0, Settings())
    board.close()
    board._board = Full()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(OSError, match=r"No space left on device: '.*tensorboard'"):
        board.add({"step": 1})


def test_what_was_there_stays_where_writing_fails(tmp_path):
    save = lambda step, size: checkpoint.save(tmp_path, step, {"x": list(range(size))})  # noqa: E731
    save(1, 3)
    write_json(tmp_path / "a.json", [1])
    with no_file_above(2000):
        for write in (
            lambda: save(2, 3000),
            lambda: write_json(tmp_path / "a.json", ["x" * 3000]),
            lambda: write_table(tmp_path / "b.csv", [{"x": "x" * 3000}]),
        ):
            with pytest.raises(OSError, match=r"File too large: '.*(manifest\.json|a\.json|b\.csv)'"):
                write()
    assert checkpoint.load(tmp_path)[1] == {"x": [0, 1, 2]} and (tmp_path / "a.json").read_text() == "[\n 1\n]"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "manifest.json", "state-1.safetensors"]


SMALL_DISK = """
import subprocess, sys
from diffmaac.cli import main
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sys.argv[2]}", "none", sys.argv[1]], check=True)
try:
    main(sys.argv[3:])
finally:
    subprocess.run(["find", sys.argv[1], "-type", "f"])
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="needs mounts of one's own, as Linux gives them in a user namespace",
)
def test_a_disk_that_is_really_full(tmp_path):
    """A file system in memory with room for one checkpoint and its replacement's tensors, not its manifest."""
    command = [sys.executable, "-c", SMALL_DISK, str(tmp_path), "120k", "train"]
    command += [*words(env="double_integrator", **{**TINY, "log": "csv,tensorboard"}), f"out={tmp_path}/run"]
    done = subprocess.run(
        ["unshare", "-rm", *command], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "No space left on device. The checkpoint of step 40 is kept in" in done.stderr.splitlines()[-1]
    assert ".partial" not in done.stdout and "state-40.safetensors" in done.stdout
