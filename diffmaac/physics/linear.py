"""Linear systems whose matrices are mass matrices, or mass matrices with what resists an acceleration added."""

import numpy as np
from jaxtyping import Float

from diffmaac.errors import DiffmaacError


def solve(matrix: Float[np.ndarray, "n nv nv"], rhs: Float[np.ndarray, "n nv k"]) -> Float[np.ndarray, "n nv k"]:
    """The x with ``matrix x = rhs``. Raises DiffmaacError where a matrix is singular; names the degree of freedom."""
    try:
        return np.linalg.solve(matrix, rhs)
    except np.linalg.LinAlgError as error:
        _, sizes, directions = np.linalg.svd(matrix)
        row = (sizes[:, -1] / np.maximum(sizes[:, 0], np.finfo(np.float64).tiny)).argmin()
        raise DiffmaacError(
            f"A step has no gradient: degree of freedom {np.abs(directions[row, -1]).argmax()} moves no mass."
            " Give its bodies a mass and an inertia, or its joint an armature."
        ) from error
