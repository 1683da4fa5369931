"""Forces on a model and poses of its mocap bodies as named tensors: checked, and laid out in rows with the controls."""

import math
from collections.abc import Mapping

import mujoco
from torch import Tensor, cat

from diffmaac.errors import DiffmaacError
from diffmaac.physics.user_inputs import UserInputs, user_input_shapes


class NamedInputs:
    """The tensors of some user inputs: of the shape in `MjData`, with the batch in front."""

    def __init__(self, model: mujoco.MjModel):
        self._model, self._shapes = model, user_input_shapes(model)
        self._spaces: dict[tuple[str, ...], UserInputs] = {}

    def space(self, given: Mapping[str, Tensor]) -> UserInputs:
        """What a row has of these."""
        names = tuple(sorted(given))
        if names not in self._spaces:
            self._spaces[names] = UserInputs(self._model, names)
        return self._spaces[names]

    def rows(self, ctrl: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """(*batch, width) of the controls (*batch, nu) and of what is given.

        Raises DiffmaacError for a wrong shape, and for an input of a kind that the model has not.
        """
        lead = ctrl.shape[:-1]
        for name, x in given.items():
            shape = self._shapes[name]
            if 0 in shape:
                raise DiffmaacError(f"{name} is given, and the model has no mocap body. Leave it out.")
            if x.shape != (*lead, *shape):
                raise DiffmaacError(
                    f"{name} has the shape {tuple(x.shape)}; expected {(*lead, *shape)}, that in MjData behind those of"
                    " the batch."
                )
        ordered = (given[name].reshape(*lead, math.prod(self._shapes[name])) for name in self.space(given).names)
        return cat([ctrl, *ordered], dim=-1)
