"""What an identification has found: values, how sure they are, and models that agree with the recorded motion."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Bool, Float

from diffmaac.errors import DiffmaacError
from diffmaac.identification.selection import Selection, select
from diffmaac.identification.storage import Record, read, write

TRIES, MOST_TRIES = 1024, 2**20
"""Draws at once from the Gaussian, and at most, to find enough that lie within the bounds."""


@dataclass(frozen=True)
class Identification:
    """What was found: `values` of the numbers called `names`, which began at `start`, and their `covariance`.

    The posterior is the Gaussian of these two within the bounds `low` and `high`. A number that the motion does not
    determine has an infinite variance, and no covariance with others. `noise` is that of the measurements, of each
    coordinate of (displacement, qvel, act); `model` has the values.
    """

    names: tuple[str, ...]
    start: Float[np.ndarray, " size"]
    values: Float[np.ndarray, " size"]
    covariance: Float[np.ndarray, "size size"]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    noise: Float[np.ndarray, " x"]
    iterations: int
    model: mujoco.MjModel

    @property
    def standard_errors(self) -> Float[np.ndarray, " size"]:
        """Of each number; infinite for what the motion does not determine."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def determined(self) -> Bool[np.ndarray, " size"]:
        """Which numbers the motion determines."""
        return np.isfinite(np.diag(self.covariance))

    @cached_property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """The fields whole, for `DifferentiablePhysics` and `MujocoSystem.with_parameters`."""
        return self._fields(self.values)

    def draw(self, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
        """Parameters of `count` models that agree with the motion, drawn from the posterior; each as `parameters` is.

        What the motion does not determine keeps its value. Raises DiffmaacError where nearly nothing of the posterior
        lies within the bounds.
        """
        if count < 1:
            raise DiffmaacError(f"count={count}: must be at least 1.")
        values = np.repeat(self.values[None], count, axis=0)
        values[:, self.determined] = self._drawn(count, np.random.default_rng(seed))
        return [self._fields(row) for row in values]

    def save(self, file: str | Path) -> None:
        """Writes a JSON file, for `load` and for ``diffmaac train dynamics=true identified=FILE``."""
        fields = {name: getattr(self, name) for name in Record._fields}
        write(Record(**fields), Path(file))

    @classmethod
    def load(cls, file: str | Path, model: mujoco.MjModel) -> "Identification":
        """What `save` wrote, for `model`: its parts of the same names get the values.

        Raises DiffmaacError where the file holds no identification, or the model has no such parts.
        """
        record = read(Path(file))
        selection = select(model, record.names)
        space, whole = selection.space, selection.space.values.copy()
        if len(selection.entries) != len(record.names):
            counts = f"{len(record.names)} names, and this model {len(selection.entries)} numbers of them"
            raise DiffmaacError(f"'{file}' has {counts}. Use it for the model that it was identified with.")
        whole[selection.entries] = record.values
        space.check(whole)
        return cls(**record._asdict(), model=space.model_with(whole))

    def _drawn(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, "count determined"]:
        """Of the determined numbers: Gaussian draws, those beyond the bounds thrown away."""
        own = self.determined
        low, high, spread = self.low[own], self.high[own], self.standard_errors[own]
        scale = np.where(spread > 0, spread, 1.0)
        eigenvalues, vectors = np.linalg.eigh(self.covariance[np.ix_(own, own)] / np.outer(scale, scale))
        factor = scale[:, None] * vectors * np.sqrt(np.maximum(eigenvalues, 0.0))
        kept = np.zeros((0, int(own.sum())))
        for _ in range(MOST_TRIES // TRIES):
            drawn = self.values[own] + rng.normal(size=(TRIES, len(scale))) @ factor.T
            kept = np.concatenate([kept, drawn[((drawn >= low) & (drawn <= high)).all(1)]])
            if len(kept) >= count:
                return kept[:count]
        raise DiffmaacError(
            f"of {MOST_TRIES:,} draws {len(kept)} lie within the bounds, and {count} are wanted: the standard"
            " errors are much wider than the bounds. Record motion that tells more, or widen the bounds."
        )

    def _fields(self, values: Float[np.ndarray, " size"]) -> dict[str, np.ndarray]:
        selection = self._selection
        space, whole = selection.space, selection.space.values.copy()
        whole[selection.entries] = values
        return {name: whole[own].reshape(space.shapes[name]) for name, own in space.slices.items()}

    @cached_property
    def _selection(self) -> Selection:
        return select(self.model, self.names)
