"""Work that repeats, recorded once as a CUDA graph and then replayed.

An update is some thousand small operations. Launched one by one from Python they take longer than they run; a CUDA
graph launches all of them at once. There is one code path: `Graphed` calls the very function that also runs without a
recording.

What a recording holds fast, and what follows from it:

- Python numbers and branches. Step sizes, discounts and the horizon are constants of a recording. What may change
  between two calls is an argument: tensors are copied into the recording's own, and whatever else decides what is
  done is in `setting`, of which each value is recorded by itself. How many transitions a replay holds is such a number,
  so indices are drawn outside and given as tensors.
- Addresses. Parameters, moments, normaliser and stored transitions are changed in place, never replaced. After
  something has replaced them (`Optimizer.load_state_dict` does) `forget` is called.
- Shapes. Each combination is recorded by itself.
- Random numbers move on: the generators are registered with the graph, which takes from them what the same work takes
  without a recording. A run with recordings draws what a run without them draws.
- Nothing may reach the host: no `item`, no shape that depends on values, no tensor made from Python numbers (which is a
  copy from the host). `tests/test_graphed.py` refuses all of it on a CPU.
"""

import abc
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from diffmaac.errors import SettingError, one_line

Outputs = TypeVar("Outputs")
Replay: TypeAlias = Callable[[], None]

WARM_UP = 3
"""Calls before the recording. In the first the optimisers make their moments and libraries their workspaces."""


class AbstractRecorder(abc.ABC):
    """How a piece of work is recorded. The work takes no arguments and returns its outputs."""

    @abc.abstractmethod
    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        """Makes ready an optimiser that takes steps within the work."""

    @abc.abstractmethod
    def warm_up(self, work: Callable[[], Outputs]) -> Outputs:
        """Does the work once, in the surroundings in which it will be recorded."""

    @abc.abstractmethod
    def record(self, work: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        """Does the work once and records it: its outputs, and a function that does it again into the same outputs."""


class CudaRecorder(AbstractRecorder):
    """Records CUDA graphs. `generators` are those from which recorded work draws."""

    def __init__(self, generators: Iterable[torch.Generator]):
        self._generators = list(generators)
        self._stream = torch.cuda.Stream()

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["capturable"] = True

    def warm_up(self, work: Callable[[], Outputs]) -> Outputs:
        self._stream.wait_stream(torch.cuda.current_stream())
        # An optimiser warns where it is prepared for a recording and takes a step outside one.
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")
            outputs = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def record(self, work: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            # Other threads (TensorBoard's) may go on meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise SettingError(
                f"the work on the GPU cannot be recorded as a CUDA graph: {one_line(error)[:200]}. A reward,"
                " `terminated` or model of one's own that reads a tensor (float, if) or makes one from numbers cannot"
                " be recorded. Change it, or say cuda_graph=false."
            ) from error
        graph.replay()  # recording does nothing but record
        return outputs, graph.replay


class _Recording(Generic[Outputs]):
    """Recorded work with inputs and outputs of its own."""

    def __init__(self, recorder: AbstractRecorder, work: Callable[..., Outputs], inputs: tuple[Tensor, ...]):
        self._inputs = [x.clone() for x in inputs]
        self._outputs, self._replay = recorder.record(lambda: work(*self._inputs))

    @property
    def outputs(self) -> Outputs:
        """Those of the last call."""
        return self._outputs

    def __call__(self, inputs: tuple[Tensor, ...]) -> Outputs:
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._replay()
        return self._outputs


class Graphed(Generic[Outputs]):
    """``function(setting, *tensors)``, recorded and replayed by `recorder`; None: called as it is.

    The first `WARM_UP` calls with some setting and some shapes are made as they are, the next is recorded, all further
    ones are replayed. Outputs of a replay are overwritten by the next: use them before.
    """

    def __init__(self, function: Callable[..., Outputs], recorder: AbstractRecorder | None):
        self._function, self._recorder = function, recorder
        self._recordings: dict[Hashable, _Recording[Outputs]] = {}
        self._calls: Counter[Hashable] = Counter()

    def __call__(self, setting: Hashable, *inputs: Tensor) -> Outputs:
        """The outputs. Raises SettingError where the work cannot be recorded."""
        if self._recorder is None:
            return self._function(setting, *inputs)
        key = (setting, *((x.shape, x.dtype) for x in inputs))
        if key in self._recordings:
            return self._recordings[key](inputs)
        self._calls[key] += 1
        if self._calls[key] <= WARM_UP:
            return self._recorder.warm_up(lambda: self._function(setting, *inputs))
        recording = _Recording(self._recorder, lambda *tensors: self._function(setting, *tensors), inputs)
        self._recordings[key] = recording
        return recording.outputs

    def forget(self) -> None:
        """Drops all recordings and their memory; what is called next is recorded anew."""
        self._recordings.clear()
        self._calls.clear()
