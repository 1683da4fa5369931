"""Numbers of each environment step on their way from the host to the device."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Carrier:
    """Carries `width` numbers at a time to `device`, in float32.

    To a GPU they go from pinned memory, so that the host does not wait until they are there. It waits for the next
    action before it fills the memory again, and that comes after everything that was sent.
    """

    def __init__(self, width: int, device: torch.device):
        self._device = device
        self.host = torch.zeros(width, pin_memory=device.type == "cuda")
        """What was sent last, on the host."""

    def send(self, *parts: Float[np.ndarray, "..."] | float) -> Float[Tensor, "1 width"]:
        """The numbers of `parts`, one after the other, on the device."""
        self.host.copy_(torch.from_numpy(np.concatenate([np.ravel(part) for part in parts])))
        return self.host.to(self._device, non_blocking=True, copy=True)[None]
