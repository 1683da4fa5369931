"""An identification as a JSON file that people can read: the numbers by the names of the model's parts."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffmaac.errors import DiffmaacError
from diffmaac.files import write_json

FORMAT = "diffmaac identification 1"
COLUMNS = ("start", "value", "low", "high")
ROUNDING = 1e-6
"""Negative eigenvalue of a matrix of correlations that is rounding."""
MOST_BYTES = 2**27
"""Of a file that is read: thousands of numbers with their covariance."""


class Record(NamedTuple):
    """What is stored of an `Identification`: all but its model."""

    names: tuple[str, ...]
    start: Float[np.ndarray, " size"]
    values: Float[np.ndarray, " size"]
    covariance: Float[np.ndarray, "size size"]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    noise: Float[np.ndarray, " x"]
    iterations: int


def write(record: Record, file: Path) -> None:
    """Infinite numbers, for which JSON has no word, become null."""
    columns = (record.start, record.values, record.low, record.high)
    numbers = [
        {"name": name, **dict(zip(COLUMNS, map(_to_json, row), strict=True))}
        for name, *row in zip(record.names, *columns, strict=True)
    ]
    covariance = [[_to_json(x) for x in row] for row in record.covariance]
    noise = [float(x) for x in record.noise]
    content = {"format": FORMAT, "numbers": numbers, "covariance": covariance, "noise": noise}
    write_json(file, {**content, "iterations": record.iterations})


def read(file: Path) -> Record:
    """Raises DiffmaacError where the file holds no identification, or one that was damaged."""
    content = _content(file)
    try:
        names = tuple(str(entry["name"]) for entry in content["numbers"])
        start, values, low, high = (
            np.array([_from_json(entry[column], sign) for entry in content["numbers"]])
            for column, sign in zip(COLUMNS, (1, 1, -1, 1), strict=True)
        )
        covariance = np.array([[_from_json(x) for x in row] for row in content["covariance"]], np.float64)
        noise = np.array([_from_json(x) for x in content["noise"]])
        record = Record(names, start, values, covariance, low, high, noise, int(content["iterations"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DiffmaacError(f"'{file}' is damaged, or was edited: {error!r}. Write it anew with save.") from error
    if wrong := _wrong(record):
        raise DiffmaacError(f"'{file}' is damaged, or was edited: {wrong}. Write it anew with save.")
    return record


def _content(file: Path) -> dict[str, Any]:
    try:
        if file.exists() and not file.is_file():
            raise DiffmaacError(f"the identification '{file}' is no file. Give one that save wrote.")
        text = file.read_text(encoding="utf-8") if file.stat().st_size <= MOST_BYTES else ""
        content = json.loads(text)
    except OSError as error:
        raise DiffmaacError(f"the identification '{file}' cannot be read: {error.strerror}.") from error
    except DiffmaacError:
        raise
    except (ValueError, RecursionError) as error:
        raise DiffmaacError(f"'{file}' is no identification: it is no JSON. Write one with save.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DiffmaacError(f"'{file}' is no identification: its format is not '{FORMAT}'. Write one with save.")
    return content


def _wrong(record: Record) -> str:
    """Why these can be no identification; empty where they can."""
    values, covariance = record.values, record.covariance
    size = len(values)
    if not size or not np.isfinite(values).all():
        return "there is no value, or one is not finite"
    if not ((record.low <= values) & (values <= record.high)).all():
        return "a value is not within its bounds"
    if covariance.shape != (size, size):
        return f"the covariance has the shape {covariance.shape}, and there are {size} values"
    variance = np.diag(covariance)
    own = np.isfinite(variance)
    known, scale = covariance[np.ix_(own, own)], np.sqrt(np.maximum(variance[own], np.finfo(np.float64).tiny))
    possible = np.isfinite(known).all() and (variance >= 0).all() and np.array_equal(known, known.T)
    if not possible or np.linalg.eigvalsh(known / np.outer(scale, scale)).min(initial=0.0) < -ROUNDING:
        return "the covariance is not symmetric, or has a negative eigenvalue"
    return ""


def _to_json(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def _from_json(x: object, sign: int = 1) -> float:
    if x is None:
        return sign * np.inf
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise TypeError(f"{x!r} is no number")
    return float(x)
