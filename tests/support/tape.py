"""A recording of torch's operations that a CPU can replay, with the rules of a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffmaac.training.graphed import AbstractRecorder

aten = torch.ops.aten
READS_BACK = {
    aten._local_scalar_dense.default: "item, float, int, bool or if",
    aten.is_nonzero.default: "bool or if",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.bincount.default: "bincount",
    aten.histc.default: "histc",
    aten.nanmedian.default: "nanmedian",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique_consecutive",
    aten.repeat_interleave.Tensor: "repeat_interleave by a tensor",
    aten.equal.default: "equal",
    aten.lift_fresh.default: "a tensor made from Python numbers",
}
"""Operations for which a GPU makes the host wait, or that copy from the host -> how they come about."""
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class NoHost(TorchDispatchMode):
    """Raises where an operation would let the host wait for a GPU: a CPU stands in for it, which reads for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        """Operations seen."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if func in READS_BACK:
            raise AssertionError(f"the host would wait for the device: {READS_BACK[func]}")
        if func in INDEXING and any(x.dtype in (torch.bool, torch.uint8) for x in args[1] if x is not None):
            raise AssertionError("the host would wait for the device: an index of booleans")
        return func(*args, **(kwargs or {}))


class _Tape(NoHost):
    """Keeps each operation with the very tensors that it had: what is played again reads and writes the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self._played: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = super().__torch_dispatch__(func, types, args, kwargs)
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        # Views and operations in place need no copying: their outputs are memory that they were given.
        made = [(i, x) for i, x in enumerate(tree_leaves(outputs)) if isinstance(x, Tensor)]
        made = [(i, x) for i, x in made if x.untyped_storage().data_ptr() not in given]

        def play() -> None:
            again = tree_leaves(func(*args, **kwargs))
            for i, x in made:
                x.copy_(again[i])

        self._played.append(play)
        return outputs

    def __call__(self) -> None:
        with torch.no_grad():
            for play in self._played:
                play()


class TapeRecorder(AbstractRecorder):
    """Records on a CPU as a CUDA graph does: Python's numbers and branches, addresses and shapes are held fast, random
    numbers move on, and what reads a tensor back raises."""

    def __init__(self) -> None:
        self.recorded = self.warmed = self.replayed = 0

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        pass

    def warm_up(self, work: Callable[[], Any]) -> Any:
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        with _Tape() as tape:
            outputs = work()

        def replay() -> None:
            self.replayed += 1
            tape()

        return outputs, replay
