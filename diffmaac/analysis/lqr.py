"""The linear-quadratic optimum, in closed form: the referee of training runs on linear tasks."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_discrete_are


def riccati(
    A: Float[np.ndarray, "n n"],
    B: Float[np.ndarray, "n m"],
    Q: Float[np.ndarray, "n n"],
    R: Float[np.ndarray, "m m"],
    gamma: float = 1.0,
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "n n"]]:
    """The gain K and the cost matrix P of the policy ``a = -K s`` that minimises ``sum_t gamma^t (s'Qs + a'Ra)``.

    P solves the discrete algebraic Riccati equation ``P = Q + gamma A'P (A - B K)``; the optimal cost from s is s'Ps.
    Discounting is that of the scaled system sqrt(gamma) (A, B) (Bertsekas, Dynamic Programming and Optimal Control).
    Raises numpy.linalg.LinAlgError where the system cannot be stabilised.
    """
    scale = np.sqrt(gamma)
    P = solve_discrete_are(scale * A, scale * B, Q, R)
    K = np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
    return K, P
