"""A model whose C engine looks for contacts only where there are some."""

import mujoco
import numpy as np

FEW = 12
"""Geoms up to which filtering them costs more than it saves."""


class ContactFilter:
    """Lets only geoms that touch at a state collide: differences around it need no others, and looking for them is a
    third of the time of an inverse dynamics. Changes the model that it is given.

    A contact that begins within the differences' step is left out, so the derivative is that of the side without it.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        self._masks = (model.geom_contype, model.geom_conaffinity, model.body_contype, model.body_conaffinity)
        self._original = tuple(mask.copy() for mask in self._masks)
        self._geoms, self._bodies = np.zeros(model.ngeom, bool), np.zeros(model.nbody, bool)
        self._off = int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
        self._usable = model.nflex == 0 and not model.opt.disableflags & self._off
        self._without, self._narrowed = False, False

    def narrow(self, data: mujoco.MjData) -> None:
        """To the contacts of `data`, which has its collisions from the model with all of them."""
        if not self._usable:
            return
        if data.ncon == 0:
            self._without = True
            self._model.opt.disableflags |= self._off
        elif self._model.ngeom > FEW:
            self._narrowed = True
            geoms = data.contact.geom
            self._geoms[:], self._bodies[:] = False, False
            self._geoms[geoms] = True
            self._bodies[self._model.geom_bodyid[geoms]] = True
            keep = (self._geoms, self._geoms, self._bodies, self._bodies)
            for mask, original, kept in zip(self._masks, self._original, keep, strict=True):
                np.multiply(original, kept, out=mask)

    def widen(self) -> None:
        """Back to all contacts."""
        if self._without:
            self._without = False
            self._model.opt.disableflags &= ~self._off
        if self._narrowed:
            self._narrowed = False
            for mask, original in zip(self._masks, self._original, strict=True):
                mask[:] = original
