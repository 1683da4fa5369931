"""What a GPU does: its tests, updates, physics, and a training at the paper's settings, in the minutes there are.

    python benchmarks/gpu.py [minutes=14] [out=runs/gpu]        a second call goes on with the training of the first
    python benchmarks/gpu.py device=cpu quick=true out=FOLDER   does the script run? A minute or two, tiny sizes

In this order, each part in a process of its own that is ended after its share of the minutes (what is left goes to the
next), each row written as soon as it is there, so that four minutes are worth having:

- tests: those marked `cuda` -> gpu_tests.csv
- updates: SAC and MAAC at the paper's settings, one by one and as CUDA graphs, in float32, TF32 and bfloat16, beside
  their matrix products alone, stable-baselines3's SAC, and a SAC that is compiled and recorded as LeanRL's is
  -> gpu_updates.csv
- physics: forward and backward pass of MJX's step on the GPU, beside the C engine's on the processor -> gpu_physics.csv
- seeds: updates a second of 1, 2, 4 and 8 processes that share the GPU -> gpu_seeds.csv
- train: half_cheetah, preset=paper, in runs -> gpu_train.csv, gpu_train.png

It needs no network. stable-baselines3 comes with the extra `dev`, JAX with CUDA with the extra `cuda`; what is missing
is a row that says so.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from diffmaac.errors import SettingError
from diffmaac.training.machine import cuda_problem
from gpu_parts.physics import physics
from gpu_parts.seeds import seeds
from gpu_parts.table import PARTS, GpuSettings, Table
from gpu_parts.tests import tests
from gpu_parts.training import report_training, train
from gpu_parts.updates import updates
from shared import script

SHARES = {"tests": (0.15, 120), "updates": (0.35, 300), "physics": (0.25, 240), "seeds": (0.1, 90)}
"""Of the minutes, and at most so many seconds; training has what is left."""
RUN = {"tests": tests, "updates": updates, "physics": physics, "seeds": seeds, "train": train}


def main(settings: GpuSettings) -> None:
    if settings.device == "cuda" and (problem := cuda_problem()):
        raise SettingError(f"device=cuda: torch cannot use CUDA here: {problem}. Say device=cpu quick=true to try.")
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    parts = settings.parts or list(PARTS)
    if settings.alone:
        for part in parts:
            RUN[part](settings, Table(settings, part))
        return
    end = time.monotonic() + 60 * settings.minutes
    for part in parts:
        share, most = SHARES.get(part, (1.0, float("inf")))
        left = end - time.monotonic()
        limited(part, settings, min(left, most, 60 * settings.minutes * share if len(parts) > 1 else left))
    if "train" in parts:
        report_training(settings)


def limited(part: str, settings: GpuSettings, seconds: float) -> None:
    """One part in a process that is ended after so many seconds."""
    if seconds <= 0:
        script.show({"part": part, "skipped": "no time is left"})
        return
    words = {"device": settings.device, "quick": str(settings.quick).lower(), "out": settings.out}
    command = [sys.executable, __file__, f"parts={part}", "alone=true", *(f"{k}={v}" for k, v in words.items())]
    start = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)  # with what it starts, all of which ends with it
    try:
        code = process.wait(seconds)
        ended = "whole" if code == 0 else f"exit code {code}"
    except subprocess.TimeoutExpired:
        ended = "its time was over"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    script.show({"part": part, "seconds": round(time.monotonic() - start, 1), "ended": ended})


if __name__ == "__main__":
    script.run(main, GpuSettings)
