"""Whether numbers on a device stay finite, noted there and looked at later."""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffmaac.errors import DivergenceError


class FiniteFlags:
    """A flag for each kind of number: is everything that was noted of it finite?

    `note` only queues work for the device, so an update that notes its losses waits for nothing and can be recorded as
    a CUDA graph. `check` waits. `advice` maps the name of each kind, as a message has it, to what the user can do.
    """

    def __init__(self, advice: Mapping[str, str], device: torch.device | str):
        self._advice = dict(advice)
        self._flags = {name: torch.zeros((), device=device) for name in advice}

    def note(self, name: str, value: Tensor) -> None:
        """Notes a number () of the kind `name`."""
        # Zero times a finite number is zero, and NaN otherwise; a NaN stays one in every later sum.
        self._flags[name].add_(0.0 * value.detach())

    def check(self) -> None:
        """Raises DivergenceError for the first kind of which something noted was not finite."""
        finite = torch.stack(list(self._flags.values())).isfinite().tolist()
        for (name, advice), good in zip(self._advice.items(), finite, strict=True):
            if not good:
                raise DivergenceError(f"{name} is not finite. {advice}")
