"""What a run logs: metrics.csv, a row an evaluation, and its evaluation after training."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffmaac.errors import CheckpointError, SettingError
from diffmaac.files import read_json, read_table, write_json, write_table
from diffmaac.provenance import circumstances
from diffmaac.runs.layout import EVALUATION, METRICS
from diffmaac.runs.loggers import AbstractLogger

EVALUATED = ("seconds", "return", "return_std")
"""Numbers that every row has, beside its step."""
QUARTILES = ("return_q1", "return_median", "return_q3")
"""Quartiles of the returns of an evaluation."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv as text, every cell a number or empty; none where there is no file.

    Raises CheckpointError where it is damaged.
    """
    if not path.is_file():
        return []
    try:
        rows = read_table(path)
        for row in rows:
            if not all(math.isfinite(float(row[name])) for name in ("step", *EVALUATED)):
                raise ValueError
            _ = int(row["step"])
            _ = [float(cell) for cell in row.values() if cell != ""]  # of a row too short or too long one is no text
    except (csv.Error, KeyError, TypeError, ValueError) as error:  # ValueError: not UTF-8, too
        raise CheckpointError(f"'{path}' is damaged: not every row has the numbers of an evaluation.") from error
    return rows


def evaluations(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv of the run in `path`.

    Raises SettingError where there is none yet, CheckpointError where the file is damaged.
    """
    rows = read_metrics(path / METRICS)
    if not rows:
        raise SettingError(f"'{path}' has no evaluation yet: its {METRICS} is missing or empty.")
    return rows


def write_evaluation(path: Path, record: Mapping[str, Any]) -> None:
    """Keeps the evaluation after training of the run in `path`, and what it was made with."""
    write_json(path / EVALUATION, {**record, **circumstances()})


def read_evaluation(path: Path, *names: str) -> dict[str, Any] | None:
    """The evaluation after training, with numbers under `names`; None where there is none, or not such a one."""
    return read_json(path / EVALUATION, dict, *names)


def made_with(path: Path) -> dict[str, str]:
    """The circumstances of the run in `path`, as its evaluation after training has them; empty where it has none."""
    record = read_evaluation(path) or {}
    return {name: record.get(name, "") for name in ("versions", "machine")}


class MetricsLog:
    """``metrics.csv`` in `folder`, and `loggers` that are told the same rows.

    Opened at `step` > 0 it keeps the rows up to that step and continues: rows of work that was lost are cut away.
    """

    def __init__(self, folder: Path, step: int, loggers: Sequence[AbstractLogger] = ()):
        self._path, self._loggers = folder / METRICS, loggers
        self._rows = [row for row in read_metrics(self._path) if float(row["step"]) <= step] if step else []
        self._write()

    def add(self, row: Mapping[str, float]) -> None:
        """Appends a row; ``row["step"]`` is its environment step."""
        self._rows.append({name: _text(value) for name, value in row.items()})
        self._write()
        for logger in self._loggers:
            logger.add(row)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.close()

    def _write(self) -> None:
        """Rewrites the file: later rows may have columns that earlier ones lack."""
        write_table(self._path, self._rows)


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.8g}"
