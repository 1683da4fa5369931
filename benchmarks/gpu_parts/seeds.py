"""Updates a second of several processes that share the device."""

import multiprocessing
import time
from typing import Any

from diffmaac.training.graphed import CudaRecorder
from gpu_parts.table import WARM_UP, GpuSettings, Row, Table, wait
from gpu_parts.updates import trainer_of

PROCESSES = (1, 2, 4, 8)


def seeds(settings: GpuSettings, table: Table) -> None:
    """MAAC updates a second of several processes, together."""
    context: Any = multiprocessing.get_context("spawn")
    for count in PROCESSES[:2] if settings.quick else PROCESSES:

        def measure(count: int = count) -> Row:
            barrier = context.Barrier(count)
            with context.Pool(count, initializer=_share, initargs=(barrier,)) as pool:
                rates = pool.map(_rate, [settings] * count, chunksize=1)
            return {"updates_per_s": round(sum(rates), 1), "slowest": round(min(rates), 1)}

        table.measure({"processes": count}, measure)


_barrier: Any = None


def _share(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _rate(settings: GpuSettings) -> float:
    """Updates a second of this process, while all others update as well."""
    trainer = trainer_of("maac", settings)
    if settings.device == "cuda":
        trainer._record(CudaRecorder(trainer._generators.values()))
    for count in range(WARM_UP):
        trainer._update(count)
    wait(settings)
    _barrier.wait()
    start, seconds, done = time.perf_counter(), 0.5 if settings.quick else 5.0, 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            trainer._update(done)
            done += 1
        wait(settings)
    return done / (time.perf_counter() - start)
