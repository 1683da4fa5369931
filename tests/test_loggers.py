"""`log=`: the same numbers as in metrics.csv in each service, read back with its own package, without a network."""

import importlib.util
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs import TINY, refused, tiny, words
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import diffmaac
from diffmaac.files import read_json
from diffmaac.runs.layout import METRICS
from diffmaac.runs.metrics import read_metrics
from diffmaac.runs.settings import stored_settings


def logged(run: Path, name: str = "return") -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[name])) for row in read_metrics(run / METRICS)]


def cut_and_resumed(path: Path, service: str, **changes: Any) -> tuple[Path, str]:
    """A run of two epochs that is taken up for a third, and the id under which `service` has both parts."""
    tiny(path, steps=80, log=f"csv,{service}", **changes)
    first = (read_json(path / "logs.json", dict) or {}).get(service)
    diffmaac.train(resume=str(path), steps=120, progress=False)
    assert (read_json(path / "logs.json", dict) or {}).get(service) == first
    return path, str(first)


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    run, _ = cut_and_resumed(tmp_path / "run", "tensorboard")
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("return")] == [(s, pytest.approx(v)) for s, v in logged(run)]


def test_csv_alone_writes_nothing_else(finished: Path) -> None:
    assert not {"tensorboard", "wandb", "logs.json"} & {path.name for path in finished.iterdir()}


def records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, blocks of 32 KiB, after a head of seven bytes."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if (room := 32768 - at % 32768) < 7:  # the rest of a block is padding
            at += room
            continue
        size, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of several
            yield parts
            parts = b""


def test_wandb_has_the_numbers_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two files of one id, that of the part before and that of the part after."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    run, number = cut_and_resumed(tmp_path / "run", "wandb")
    rows: list[tuple[int, float]] = []
    for file in sorted((run / "wandb").glob(f"offline-run-*-{number}/*.wandb")):
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)  # pyright: ignore[reportAttributeAccessIssue]
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if "return" in items:
                rows.append((int(items["step"]), float(items["return"])))
    assert rows == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged(run)]


def test_wandb_asks_for_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked for something"))
    run = tiny(tmp_path / "run", steps=40, log="wandb")
    assert list((run / "wandb").glob("offline-run-*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow is not yet up to SQLAlchemy 2.1
@pytest.mark.parametrize("store", ["beside", "elsewhere"])
def test_mlflow_has_the_numbers(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    if store == "elsewhere":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path}/else.db")
    else:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        uri = f"sqlite:///{tmp_path}/mlflow.db"
    run, number = cut_and_resumed(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient(uri)
    history = sorted((m.step, m.value) for m in client.get_metric_history(number, "return"))
    assert history == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged(run)]
    stored = client.get_run(number)
    assert stored.data.params["horizon"] == "2" and stored.info.status == "FINISHED"


def test_trackio_has_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed, which the lock file does not do; with Trackio 0.43.0 and Pillow 12.3.0 it passes."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # which it reads when it is loaded
    reason = "the lock file has no Trackio, which asks for a Pillow below 13: `pip install trackio` first"
    storage = pytest.importorskip("trackio.sqlite_storage", reason=reason).SQLiteStorage
    run, number = cut_and_resumed(tmp_path / "run", "trackio")
    history = sorted((int(row["step"]), row["return"]) for row in storage.get_logs("diffmaac", number))
    assert history == [(step, pytest.approx(value, rel=1e-6)) for step, value in logged(run)]


@pytest.mark.parametrize("service", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_is_one_line(service: str, tmp_path: Path, monkeypatch, capsys) -> None:
    """A folder of its name, which Python takes for a package, does not count."""
    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == service else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    monkeypatch.chdir(tmp_path)
    line = refused("train", *words(**TINY | {"log": service}), "env=double_integrator", capsys=capsys)
    assert f"log={service}: the package {service} is not installed. `pip install diffmaac[{service}]`" in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_service_is_one_line(capsys) -> None:
    assert "Did you mean 'wandb'?" in refused("train", "log=wanda", capsys=capsys)


def test_a_run_of_before_log_still_loads(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "old"))
    text = (run / "config.yaml").read_text()
    for old, new in (("true", ["csv", "tensorboard"]), ("false", ["csv"])):
        assert "  log:\n  - csv\n" in text
        (run / "config.yaml").write_text(text.replace("  log:\n  - csv\n", f"  tensorboard: {old}\n"))
        assert stored_settings(run).report.log == new
