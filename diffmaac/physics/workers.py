"""Processes that share the rows of a batch: Python's lock lets threads make its many short calls one at a time only."""

import atexit
import contextlib
import itertools
import logging
import os
import subprocess
import sys
import threading
import weakref
from typing import IO, cast

import mujoco
import numpy as np

from diffmaac.physics.trajectory_adjoint import Rows, TrajectoryAdjoint
from diffmaac.physics.unsupported import UnsupportedModel
from diffmaac.physics.user_inputs import UserInputs
from diffmaac.physics.worker import receive, send

_LOGGER = logging.getLogger(__name__)
MOST = 16
"""Processes that share rows at most, this one among them: each takes some 60 MB."""
WORTHWHILE = 1_000
"""Time steps times degrees of freedom of a share, some 10 ms, below which its way to another process costs too much."""
PATIENCE = 5.0
"""Seconds that a process may take to end."""
PROGRAM = "from diffmaac.physics.worker import serve; serve()"


class SharedAdjoint:
    """`TrajectoryAdjoint` of a model by `threads` processes, this one among them, where a batch is worth it.

    The others are started when they are first wanted, serve all models, and end with this process. Until they are ready
    this one works alone, and where one fails it does that share itself. Results are equal to the bit.
    """

    def __init__(self, model: mujoco.MjModel, threads: int, inputs: UserInputs | None = None):
        self._model, self._threads, self._inputs = model, min(threads, MOST), inputs
        self._own, self._lock = TrajectoryAdjoint(model, inputs=inputs), threading.Lock()
        self._key = next(_KEYS)
        weakref.finalize(self, _POOL.forget, self._key)

    def pull_back(self, arrays: Rows) -> Rows:
        """As `TrajectoryAdjoint.pull_back`, and raises as it does."""
        n, steps = arrays[0].shape[:2]
        others = min(self._threads, n, n * steps * self._model.nv // WORTHWHILE) - 1
        with self._lock:
            if others < 1 or not _POOL.lock.acquire(blocking=False):
                return self._own.pull_back(arrays)
            try:
                return self._share(arrays, _POOL.ready(others))
            finally:
                _POOL.lock.release()

    def _share(self, arrays: Rows, workers: "list[Worker]") -> Rows:
        bounds = np.linspace(0, len(arrays[0]), len(workers) + 2).astype(int)
        shares = [tuple(x[first:end] for x in arrays) for first, end in itertools.pairwise(bounds)]
        for worker, share, first in zip(workers, shares[1:], bounds[1:-1], strict=True):
            worker.ask(self._key, self._model, share, int(first), self._inputs)
        try:
            parts = [self._own.pull_back(shares[0])]
        finally:
            answers = [worker.answer() for worker in workers]  # none may be left in a pipe
        for answer, share, first in zip(answers, shares[1:], bounds[1:-1], strict=True):
            if isinstance(answer, str):
                raise UnsupportedModel(answer)
            parts.append(self._own.pull_back(share, int(first)) if answer is None else answer)
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


class Worker:
    """One other process."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable or "python", "-c", PROGRAM], stdin=pipe, stdout=pipe, env=environment
        )
        self._to, self._from = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self._models: set[int] = set()
        self._asked = 0
        self.is_ready, self.has_failed = False, False
        threading.Thread(target=self._await, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    @property
    def models(self) -> int:
        """How many it has."""
        return len(self._models)

    def _await(self) -> None:
        try:
            receive(self._from)
            self.is_ready = True
        except (EOFError, OSError, ValueError) as error:
            self._fail(error)

    def ask(self, key: int, model: mujoco.MjModel, share: Rows, first: int, inputs: UserInputs | None = None) -> None:
        """For the gradients of a share of the rows, of which `first` is the index of the first."""
        try:
            if key not in self._models:
                binary = np.empty(mujoco.mj_sizeModel(model), np.uint8)
                mujoco.mj_saveModel(model, None, binary)
                head = {"kind": "model", "model": key, "bytes": len(binary), "inputs": inputs.names if inputs else ()}
                send(self._to, head, raw=binary.tobytes())
                self._models.add(key)
            self._asked += 1
            send(self._to, {"kind": "rows", "model": key, "first": first, "number": self._asked}, share)
        except OSError as error:
            self._fail(error)

    def answer(self) -> Rows | str | None:
        """The gradients, or why there are none; None where the process has failed."""
        if self.has_failed:
            return None
        try:
            while True:
                head, gradients = receive(self._from)
                if head["number"] == self._asked:  # that of an earlier call, which was interrupted, is thrown away
                    return head.get("error", gradients)
        except (EOFError, OSError, ValueError) as error:
            return self._fail(error)

    def forget(self, key: int) -> None:
        """Frees the model of that key."""
        if key in self._models:
            self._models.discard(key)
            try:
                send(self._to, {"kind": "forget", "model": key})
            except OSError as error:
                self._fail(error)

    def end(self) -> None:
        """Waits for its end, which comes when it is told no more."""
        with contextlib.suppress(OSError):
            self._to.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._from.close()

    def _fail(self, error: Exception) -> None:
        if not self.has_failed and not sys.is_finalizing():
            self.has_failed = True
            _LOGGER.warning(
                "a process that helps with MuJoCo's gradients has ended (%r); this one does its work. To use none at"
                " all, set torch's threads to 1.",
                error,
            )


class Pool:
    """The processes that help this one. Whoever holds the lock may use them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._workers: list[Worker] = []
        self._forgotten: list[int] = []
        self._process, self._failed = os.getpid(), False

    def ready(self, wanted: int) -> list[Worker]:
        """Those of `wanted` that can be asked now; starts those that are missing."""
        if os.getpid() != self._process:  # after a fork they are the parent's
            self._workers, self._process = [], os.getpid()
        try:
            while len(self._workers) < wanted and not self._failed:
                self._workers.append(Worker())
        except OSError as error:
            self._failed = True
            _LOGGER.warning("no process can be started to help with MuJoCo's gradients: %s", error)
        workers = [worker for worker in self._workers[:wanted] if worker.is_ready and not worker.has_failed]
        while self._forgotten:
            key = self._forgotten.pop()
            for worker in workers:
                worker.forget(key)
        return workers

    def forget(self, key: int) -> None:
        """Lets the processes free a model, when they are next asked."""
        self._forgotten.append(key)

    def end(self) -> None:
        """Ends all of them."""
        if os.getpid() != self._process:
            return
        for worker in self._workers:
            worker.end()
        self._workers = []


_KEYS = itertools.count()
_POOL = Pool()
atexit.register(_POOL.end)
