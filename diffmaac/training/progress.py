"""What a run says of itself while it trains: means of its metrics, where the time goes, a live line."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from diffmaac.typed import add_


class Means:
    """Running means of named scalars, kept as tensors until they are asked for, so that no update waits for them.

    What is added is copied: it may be overwritten afterwards.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        known = [name for name in metrics if name in self._sums]
        if known:
            add_([self._sums[name] for name in known], [metrics[name] for name in known])
        for name, value in metrics.items():
            self._counts[name] = self._counts.get(name, 0) + 1
            if name not in self._sums:
                self._sums[name] = value.detach().clone()

    def read(self) -> dict[str, float]:
        """The means since the last `clear`."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def clear(self) -> None:
        self._sums, self._counts = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts, as a tree that `checkpoint.save` writes."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """The inverse of `state_dict`."""
        self._sums, self._counts = {name: x.to(device) for name, x in state["sums"].items()}, dict(state["counts"])


class Stopwatch:
    """Where the wall time goes, by name [s]. Work that a CUDA device has not finished counts where it is waited for."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Adds the time until the block ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def pop(self) -> dict[str, float]:
        """The seconds since the last `pop`, as ``seconds_<name>``."""
        out = {f"seconds_{name}": round(total, 4) for name, total in sorted(self._seconds.items())}
        self._seconds = {}
        return out


class ProgressLine:
    """The live line of a training run: steps, return, losses, time left."""

    def __init__(self, title: str, total: int, done: int, enabled: bool = True):
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not enabled,
        )
        self._task = self._progress.add_task(title, total=total, completed=done, status="")

    def __enter__(self) -> "ProgressLine":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def show(self, row: Mapping[str, float]) -> None:
        """Puts the numbers of an epoch on the line."""
        short = {"return": "return", "critic_loss": "critic", "actor_loss": "actor"}
        status = " ".join(f"{word} {row[name]:.3g}" for name, word in short.items() if name in row)
        self._progress.update(self._task, status=status)
