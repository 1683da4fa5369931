"""What all parts share: their settings, a table that grows row by row, and times on a device."""

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffmaac.errors import one_line
from diffmaac.settings import setting
from shared import script

PARTS = ("tests", "updates", "physics", "seeds", "train")
CHEETAH = "half_cheetah"
BATCH, WARM_UP = 256, 10
Row = dict[str, Any]


@dataclass(frozen=True)
class GpuSettings:
    """What is measured, where, and for how long."""

    parts: list[str] = setting([], "empty: all, in their order", choices=PARTS)
    minutes: float = setting(14.0, "for all parts together", 0.1)
    device: str = setting("cuda", "where torch computes", choices=("cuda", "cpu"))
    quick: bool = setting(False, "tiny sizes, to see whether the script runs")
    alone: bool = setting(False, "the one part of parts in this process, without a time limit")
    out: str = setting("runs/gpu", "directory of the tables, made where it is missing")


class Table:
    """A table that is written anew with each row, and never without what it was measured with."""

    def __init__(self, settings: GpuSettings, part: str):
        self._file, self._rows = Path(settings.out) / f"gpu_{part}.csv", []
        packages = [name for name in ("torch", "jax", "mujoco") if importlib.util.find_spec(name)]
        self._where = {"device": device_name(settings.device), **script.provenance(*packages)}

    def add(self, row: Row) -> None:
        script.show(row)
        self._rows.append(row)
        script.write(self._file, self._rows, self._where)

    def measure(self, row: Row, function: Callable[[], Row]) -> None:
        """Adds `row` with what `function` measures; where it fails, with its reason, and the next row has its turn."""
        try:
            self.add(row | function())
        except Exception as error:
            self.add(row | {"failed": f"{type(error).__name__}: {one_line(error)[:300]}"})


def device_name(device: str) -> str:
    if device == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def milliseconds(function: Callable[[], object], settings: GpuSettings, warm_up: int = WARM_UP) -> float:
    """Of one call: the median of five groups of calls, each waited for at its end."""
    repeats, calls = (1, 2) if settings.quick else (5, 30)
    times: list[float] = []
    for _ in range(warm_up):
        function()
    for _ in range(repeats):
        wait(settings)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        wait(settings)
        times.append(1e3 * (time.perf_counter() - start) / calls)
    return round(statistics.median(times), 4)


def wait(settings: GpuSettings) -> None:
    if settings.device == "cuda":
        torch.cuda.synchronize()
