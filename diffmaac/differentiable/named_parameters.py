"""Parameters of a MuJoCo model as named tensors: checked, and laid out in rows for a step that takes them."""

from collections.abc import Mapping

import mujoco
import numpy as np
import torch
from torch import Tensor

from diffmaac import physics
from diffmaac.autograd import dense_tensor
from diffmaac.errors import DiffmaacError, unknown


class NamedParameters:
    """The tensors of some fields of a model, each shared over the batch, of its field's shape, or one more axis."""

    def __init__(self, space: physics.ParameterSpace):
        self._space = space

    @property
    def values(self) -> dict[str, Tensor]:
        """The model's own, in float64."""
        parts = torch.from_numpy(self._space.values.copy())
        return {name: parts[own].reshape(self._space.shapes[name]) for name, own in self._space.slices.items()}

    def rows(self, given: Mapping[str, Tensor | np.ndarray], like: Tensor) -> Tensor:
        """(batch, size) of the tensors given, and of the model's values for the others; `like` is qpos (batch, nq)."""
        batch, named = like.shape[0], self._tensors(given, like)
        if not named:
            return like.new_zeros(batch, 0)
        if all(x.shape == self._space.shapes[name] for name, x in named.items()):
            return torch.cat([x.reshape(-1) for x in named.values()]).expand(batch, -1)
        wide = [
            x.reshape(1, -1).expand(batch, -1) if x.shape == self._space.shapes[name] else x.reshape(batch, -1)
            for name, x in named.items()
        ]
        return torch.cat(wide, dim=1)

    def model(self, given: Mapping[str, Tensor | np.ndarray]) -> mujoco.MjModel:
        """A copy of the model with these values, each of its field's shape."""
        like = torch.zeros(1, 1, dtype=torch.float64)
        doubled = {name: torch.as_tensor(x).detach().to(like) for name, x in given.items()}
        values = self.rows(doubled, like)[0].numpy()
        self._space.check(values)
        return self._space.model_with(values)

    def _tensors(self, given: Mapping[str, Tensor | np.ndarray], like: Tensor) -> dict[str, Tensor]:
        for name in given:
            if name not in self._space.names:
                raise DiffmaacError(unknown("parameter", name, self._space.names) + " Name it when you build the step.")
        own = self.values
        return {
            name: self._checked(name, given[name], like) if name in given else own[name].to(like)
            for name in self._space.names
        }

    def _checked(self, name: str, x: Tensor | np.ndarray, like: Tensor) -> Tensor:
        x = dense_tensor(name, x)
        shape = self._space.shapes[name]
        batched = (like.shape[0], *shape)
        if x.shape not in (shape, batched):
            raise DiffmaacError(
                f"{name} has the shape {tuple(x.shape)}; expected {shape}, or {batched} for values of each row."
            )
        if x.dtype != like.dtype or x.device != like.device:
            raise DiffmaacError(
                f"{name} is of {x.dtype} on {x.device}, and qpos of {like.dtype} on {like.device}; both must be alike."
            )
        return x
