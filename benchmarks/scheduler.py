"""What the scheduler of sweeps costs: runs that do nothing, through processes and through a local Ray.

python benchmarks/scheduler.py [runs=1000] [jobs=2] [engines=idle,local,ray] [out=docs/results]

`idle` are processes of `true`, so that what is measured is the loop itself and the start of a process; `local` are
processes of Python that import nothing; `ray` are tasks of Ray, whose workers take one after another.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffmaac.experiments.engine import AbstractEngine, LocalEngine, trained
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.settings import EngineSettings
from diffmaac.experiments.watch import Board
from diffmaac.settings import setting
from shared import script

ENGINES = ("idle", "local", "ray")


@dataclass(frozen=True)
class Words:
    """What is measured."""

    runs: int = setting(1000, "runs that do nothing", 1, 100_000)
    jobs: int = setting(2, "runs at a time", 1, 1024)
    engines: list[str] = setting([*ENGINES], "what runs them", choices=ENGINES, fewest=1)
    out: str = setting("docs/results", "directory of scheduler.csv")


def nothing(run: dict[str, Any], storage: str) -> int:
    return 0


def engine_named(name: str, jobs: int) -> AbstractEngine:
    if name == "ray":
        from diffmaac.experiments.cluster import RayEngine

        return RayEngine(EngineSettings(engine="ray", jobs=jobs), nothing)
    return LocalEngine(jobs, ("true",) if name == "idle" else (sys.executable, "-S", "-c", "pass"))


def measure(name: str, words: Words) -> dict[str, Any]:
    began = time.perf_counter()
    engine = engine_named(name, words.jobs)
    ready = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        runs = [PlannedRun(Path(folder), "none", "none", "", {"seed": i, "steps": 1}) for i in range(words.runs)]
        board = Board(runs, engine.parallel)
        for run, error in trained(engine, runs):
            assert not error, error
            board.end(run, False)
    seconds = time.perf_counter() - ready
    row = {"engine": name, "runs": words.runs, "jobs": words.jobs, "start_s": round(ready - began, 2)}
    row |= {"total_s": round(seconds, 2), "overhead_ms": round(1000 * seconds * words.jobs / words.runs, 2)}
    return row | script.provenance("diffmaac", "torch", *(["ray"] if name == "ray" else []))


def main(words: Words) -> None:
    file, rows = script.output(words.out, "scheduler.csv"), []
    for name in words.engines:
        rows.append(measure(name, words))
        script.show({part: rows[-1][part] for part in ("engine", "runs", "start_s", "total_s", "overhead_ms")})
    script.write(file, rows)


if __name__ == "__main__":
    script.run(main, Words)
