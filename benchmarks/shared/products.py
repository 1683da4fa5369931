"""The floor of a workload's time: its matrix products alone, replayed with the shapes and strides that they had."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = {
    torch.ops.aten.mm.default: (torch.mm, 0),
    torch.ops.aten.addmm.default: (torch.mm, 1),
    torch.ops.aten.bmm.default: (torch.bmm, 0),
    torch.ops.aten.baddbmm.default: (torch.bmm, 1),
}
"""The operations that are matrix products, and where their two factors stand among the arguments."""


class Products(TorchDispatchMode):
    """Records every matrix product, to be replayed on factors of the same shapes and strides.

    What lay at one place in memory lies at one place again, so that weights used twice are as warm in the caches.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recorded: list[Callable[[], Tensor]] = []
        self._factors: dict[tuple, Tensor] = {}

    def _factor(self, x: Tensor) -> Tensor:
        key = (x.data_ptr(), x.shape, x.stride(), x.dtype)
        if key not in self._factors:
            self._factors[key] = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).normal_()
        return self._factors[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            product, first = PRODUCTS[func]
            left, right = (self._factor(x) for x in args[first : first + 2])
            out = product(left, right)
            self._recorded.append(lambda: product(left, right, out=out))
        return func(*args, **(kwargs or {}))

    def __call__(self) -> None:
        for product in self._recorded:
            product()
