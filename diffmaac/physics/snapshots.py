"""Values of an MjData at many states, taken by a few copies of its memory."""

import ctypes
import operator
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Int, UInt8

GAP = 4096
"""Bytes between two arrays up to which one copy of both is faster than two."""
ALIGNMENT = 8
"""Bytes that first places and the rows of copies are a multiple of."""
MOST_LAYOUTS = 256
"""Of the arena, that are remembered: scenes of many loose bodies hardly meet the same one twice."""


class Snapshots:
    """Arrays of an MjData at n states, taken one state after the other.

    NumPy needs a third of a microsecond to copy an array, however short, and a state has some thirty of them. They lie
    side by side in MuJoCo's memory, so that one copy takes many; the arrays of all states are views of the copies.

    Args:
        fields: whose sizes the model determines, as "cdof".
        arena: of constraints and contacts, as "efc_J" and "contact.pos", whose sizes change with the state.
    """

    def __init__(self, data: mujoco.MjData, fields: Sequence[str], arena: Sequence[str] = ()):
        self._data, self._arena = data, arena
        self._spans = _spans({name: operator.attrgetter(name)(data) for name in fields})
        self._copies = [span.room(0) for span in self._spans]
        self._layouts: dict[tuple[int, ...], Span] = {}
        self.begin(0)

    def begin(self, n: int) -> None:
        """Forgets what was taken, of which no view may be used any more, and makes room for n states."""
        self._n = n
        if len(self._layouts) > MOST_LAYOUTS:
            self._layouts.clear()
        if len(self._copies[0]) < n:  # else it stays: new memory takes as long as the copies
            self._copies = [span.room(n) for span in self._spans]
        self._taken: dict[tuple[int, ...], tuple[list[int], list[np.ndarray]]] = {}
        self._groups: list[Group] | None = None

    def take(self, row: int) -> None:
        """The state at which the MjData is."""
        for span, copies in zip(self._spans, self._copies, strict=True):
            copies[row, : span.size] = span.memory
        data = self._data
        if self._arena and data.nefc + data.ncon:
            # MuJoCo puts these arrays one after the other in its arena, so that their sizes determine their places. It
            # does so before it drops rows without any effect: the size is then in nJ, and no longer in nefc.
            key = data.ncon, data.nefc, data.nJ, data.parena
            if key not in self._layouts:
                self._layouts[key] = Span({name: operator.attrgetter(name)(data) for name in self._arena})
            states, copies = self._taken.setdefault(key, ([], []))
            states.append(row)
            copies.append(self._layouts[key].memory.copy())

    def __getitem__(self, name: str) -> np.ndarray:
        """One of the fields, (n, ...)."""
        for span, copies in zip(self._spans, self._copies, strict=True):
            if name in span.places:
                return span.view(name, copies[: self._n])
        raise KeyError(name)

    def groups(self) -> list["Group"]:
        """The arrays of the arena, of states with the same number of contacts and constraints together. No state may be
        taken after that."""
        if self._groups is None:
            self._groups = [Group(self._layouts[key], *taken) for key, taken in self._taken.items()]
            self._taken = {}
        return self._groups


class Group:
    """The arrays of the arena at m states, in which they have the same sizes.

    Attributes:
        states: which they are, in ascending order.
    """

    states: Int[np.ndarray, " m"]

    def __init__(self, span: "Span", states: list[int], copies: list[np.ndarray]):
        self.states, self._span, self._copies = np.array(states), span, span.room(len(states))
        for target, copy in zip(self._copies, copies, strict=True):
            target[: span.size] = copy

    def __getitem__(self, name: str) -> np.ndarray:
        """One of them, (m, ...)."""
        return self._span.view(name, self._copies)


class Span:
    """A stretch of memory with some arrays in it.

    Attributes:
        memory: the stretch itself, as long as the owner of the arrays lives.
        places: of each array: its first byte in the stretch, its shape, strides and type.
    """

    memory: UInt8[np.ndarray, " size"]
    places: dict[str, tuple[int, tuple[int, ...], tuple[int, ...], np.dtype]]

    def __init__(self, arrays: dict[str, np.ndarray]):
        bounds = [np.lib.array_utils.byte_bounds(x) for x in arrays.values() if x.size]
        first, end = min((low for low, _ in bounds), default=0), max((high for _, high in bounds), default=0)
        first -= first % ALIGNMENT
        self.size = end - first
        self.memory = np.zeros(0, np.uint8)
        if self.size:
            self.memory = np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(first))
        self.places = {
            name: (np.lib.array_utils.byte_bounds(x)[0] - first, x.shape, x.strides, x.dtype)
            for name, x in arrays.items()
        }

    def room(self, n: int) -> UInt8[np.ndarray, "n _"]:
        """For n copies, of which each may end with some bytes that are not used."""
        return np.empty((n, -(-self.size // ALIGNMENT) * ALIGNMENT), np.uint8)

    def view(self, name: str, copies: UInt8[np.ndarray, "n _"]) -> np.ndarray:
        """That array in all copies, (n, ...)."""
        offset, shape, strides, dtype = self.places[name]
        if 0 in shape or len(copies) == 0:
            return np.zeros((len(copies), *shape), dtype)
        return np.ndarray((len(copies), *shape), dtype, copies, offset, (copies.strides[0], *strides))


def _spans(arrays: dict[str, np.ndarray]) -> list[Span]:
    """Those that lie near each other together."""
    bounds = {name: np.lib.array_utils.byte_bounds(x) for name, x in arrays.items()}
    together: list[dict[str, np.ndarray]] = [{name: x for name, x in arrays.items() if x.size == 0}]
    end = -np.inf
    for name in sorted((name for name, x in arrays.items() if x.size), key=bounds.__getitem__):
        if bounds[name][0] > end + GAP:
            together.append({})
        together[-1][name], end = arrays[name], bounds[name][1]
    return [Span(part) for part in together if part]
