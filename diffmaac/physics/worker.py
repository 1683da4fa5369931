"""A process that pulls gradients back for another one: asked on standard input, it answers on standard output.

    message: a line of JSON; for "model" the bytes of the model, for "rows" the numbers of its arrays
    answer:  a line of JSON; for "rows" without an error the numbers of the gradients

Arrays are of float64, and the line has their shapes.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from typing import IO, Any

import mujoco
import numpy as np

from diffmaac.physics.trajectory_adjoint import TrajectoryAdjoint
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs


def send(stream: IO[bytes], head: dict[str, Any], arrays: Sequence[np.ndarray] = (), raw: bytes = b"") -> None:
    """Writes a message or an answer."""
    head = {**head, "shapes": [array.shape for array in arrays]}
    stream.write(json.dumps(head).encode() + b"\n" + raw)
    for array in arrays:
        stream.write(array.astype(np.float64, copy=False).tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    """Reads one: its head and its arrays. Raises EOFError where the other process has ended."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    return head, tuple(_read(stream, shape) for shape in head["shapes"])


def _read(stream: IO[bytes], shape: Sequence[int]) -> np.ndarray:
    size = math.prod(shape) * np.dtype(np.float64).itemsize
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return np.frombuffer(content).reshape(shape)


def serve() -> None:
    """Answers until the other process ends or closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process is interrupted, and ends this one
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no answer
    adjoints: dict[int, TrajectoryAdjoint] = {}
    send(sink, {"ready": True})
    while True:
        try:
            head, arrays = receive(source)
        except EOFError:
            return
        if head["kind"] == "model":
            binary = source.read(head["bytes"])
            model = mujoco.MjModel.from_binary_path("m.mjb", {"m.mjb": binary})
            adjoints[head["model"]] = TrajectoryAdjoint(model, inputs=UserInputs(model, head["inputs"]))
        elif head["kind"] == "forget":
            adjoints.pop(head["model"], None)
        else:
            try:
                gradients = adjoints[head["model"]].pull_back(arrays, head["first"])
            except UnsupportedModel as error:
                send(sink, {"number": head["number"], "error": str(error)})
            else:
                send(sink, {"number": head["number"]}, gradients)
