"""Linear dynamics, quadratic cost, linear-Gaussian policy: return, gradients and critic in closed form.

    s_tp1 = A s_t + B a_t + w_t,   w_t ~ N(0, W)          reward r = -(s'Qs + a'Ra)
    a_t   = -K s_t + e_t,          e_t ~ N(0, S)          start states with second moment S_0 = E[s_0 s_0']

The referee of training runs on linear tasks, and of every gradient estimator. With C = A - B K (the closed loop) and
the covariance N = B S B' + W that a step adds, three equations carry all of it (Bertsekas, "Dynamic Programming and
Optimal Control", vol. II; the gradient as in Fazel et al. 2018, arXiv 1801.05039, here with noise and discount):

    P = Q + K'RK + gamma C'PC                                the cost matrix: V(s) = -(s'Ps + c)
    c = (tr(S (R + gamma B'PB)) + gamma tr(W P)) / (1 - gamma)
    X = sum_t gamma^t E[s_t s_t'],  X = S_0 + gamma (C X C' + N / (1 - gamma))

Everything in float64; covariances may be zero. Without discount (gamma = 1) only noise-free problems have a return.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_discrete_are, solve_discrete_lyapunov

from diffmaac.errors import SettingError

Matrix = Float[np.ndarray, "_ _"]


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


@dataclass(frozen=True, eq=False)
class LinearQuadraticProblem:
    """Dynamics, cost, noise and start states; see the module. Gains K are (m, n).

    `horizon` counts the rewarded steps of the return; None: infinitely many.
    """

    A: Float[np.ndarray, "n n"]
    B: Float[np.ndarray, "n m"]
    Q: Float[np.ndarray, "n n"]
    R: Float[np.ndarray, "m m"]
    start: Float[np.ndarray, "n n"]
    """S_0, the second moment of the start states."""
    action_noise: Float[np.ndarray, "m m"]
    process_noise: Float[np.ndarray, "n n"]
    gamma: float
    horizon: int | None = None

    def optimal_gain(self) -> Float[np.ndarray, "m n"]:
        """The gain that maximises the return over infinitely many steps; noise does not change it."""
        return riccati(self.A, self.B, self.Q, self.R, self.gamma)[0]

    def closed_loop(self, K: Matrix) -> Float[np.ndarray, "n n"]:
        """C = A - B K."""
        return self.A - self.B @ K

    def spectral_radius(self, K: Matrix) -> float:
        """rho: the largest modulus of an eigenvalue of the closed loop."""
        return float(np.abs(np.linalg.eigvals(self.closed_loop(K))).max())

    def expected_return(self, K: Matrix) -> float:
        """J(K) = E[sum_t gamma^t r_t]. Raises SettingError where it does not exist."""
        state_cost = np.trace((self.Q + K.T @ self.R @ K) @ self._discounted_moments(K, self.horizon))
        rate = np.trace(self.action_noise @ self.R)
        return -float(state_cost + (rate * self._discounted_steps(self.horizon) if rate else 0.0))

    def return_gradient(self, K: Matrix) -> Float[np.ndarray, "m n"]:
        """grad_K J = -2 sum_t gamma^t E_t(K) E[s_t s_t'], where E_t = (R + gamma B'P_{t+1}B) K - gamma B'P_{t+1}A.

        Over infinitely many steps E_t and P_t are constant, and the sum is X.
        """
        if self.horizon is None:
            return -2 * self._advantage(K, self.cost_matrix(K)) @ self._discounted_moments(K, None)
        # P_t is the cost of the steps from t on: none is left after the last.
        costs = [np.zeros_like(self.Q)]
        for _ in range(self.horizon):
            costs.append(self._step_back(K, costs[-1]))
        total, moment = np.zeros_like(K), self.start
        for t in range(self.horizon):
            total -= 2 * self.gamma**t * self._advantage(K, costs[self.horizon - 1 - t]) @ moment
            moment = self._step_moment(K, moment)
        return total

    def objective_gradient(self, K: Matrix, steps: int) -> Float[np.ndarray, "m n"]:
        """The gradient of J_H, H = `steps`: the return over H steps of the true dynamics, closed by the true Q of K.

        Q is held fixed, so that what a change of K does after step H is not counted: grad J_H is the sum of
        `return_gradient` cut off after t = H, and grad J - grad J_H falls like the discounted moments of the state.
        """
        return -2 * self._advantage(K, self.cost_matrix(K)) @ self._discounted_moments(K, steps + 1)

    def cost_matrix(self, K: Matrix) -> Float[np.ndarray, "n n"]:
        """P of the policy, over infinitely many steps. Raises SettingError where sqrt(gamma) C is not stable."""
        if np.sqrt(self.gamma) * self.spectral_radius(K) >= 1:
            raise SettingError(
                f"the gain {K.tolist()} has spectral radius {self.spectral_radius(K):.3f}: with gamma={self.gamma} the"
                " return is infinite. Give a gain that stabilises the system, or a smaller gamma."
            )
        return solve_discrete_lyapunov(np.sqrt(self.gamma) * self.closed_loop(K).T, self.Q + K.T @ self.R @ K)

    def constant_cost(self, K: Matrix) -> float:
        """c: what the noise costs, whatever the state."""
        P = self.cost_matrix(K)
        rate = np.trace(self.action_noise @ (self.R + self.gamma * self.B.T @ P @ self.B))
        rate += self.gamma * np.trace(self.process_noise @ P)
        return 0.0 if rate == 0 else float(rate * self._discounted_steps(None))

    def q(
        self, K: Matrix, s: Float[np.ndarray, "*batch n"], a: Float[np.ndarray, "*batch m"]
    ) -> Float[np.ndarray, "*batch"]:
        """Q(s, a) = -(s'Qs + a'Ra + gamma ((As + Ba)'P(As + Ba) + tr(W P) + c)), over infinitely many steps."""
        P = self.cost_matrix(K)
        after = s @ self.A.T + a @ self.B.T
        rest = np.trace(self.process_noise @ P) + self.constant_cost(K)
        cost = _square(s, self.Q) + _square(a, self.R) + self.gamma * (_square(after, P) + rest)
        return -cost

    @cached_property
    def _added(self) -> Float[np.ndarray, "n n"]:
        """N = B S B' + W."""
        return self.B @ self.action_noise @ self.B.T + self.process_noise

    def _advantage(self, K: Matrix, P: Matrix) -> Matrix:
        """E_K = (R + gamma B'PB) K - gamma B'PA: half the gradient of the cost of the action, per state."""
        BP = self.gamma * self.B.T @ P
        return (self.R + BP @ self.B) @ K - BP @ self.A

    def _step_back(self, K: Matrix, P: Matrix) -> Matrix:
        C = self.closed_loop(K)
        return self.Q + K.T @ self.R @ K + self.gamma * C.T @ P @ C

    def _step_moment(self, K: Matrix, moment: Matrix) -> Matrix:
        C = self.closed_loop(K)
        return C @ moment @ C.T + self._added

    def _discounted_steps(self, steps: int | None) -> float:
        """sum_t gamma^t over `steps` terms; None: infinitely many."""
        if steps is not None:
            return float(sum(self.gamma**t for t in range(steps)))
        if self.gamma == 1:
            raise SettingError("gamma=1 with noise: the return over infinitely many steps is infinite. Lower gamma.")
        return 1 / (1 - self.gamma)

    def _discounted_moments(self, K: Matrix, steps: int | None) -> Float[np.ndarray, "n n"]:
        """sum over t < `steps` of gamma^t E[s_t s_t'], by the Lyapunov equation of X where steps is None."""
        if steps is None:
            self.cost_matrix(K)  # raises where the sum does not converge
            added = self.gamma * self._added
            noise = added * self._discounted_steps(None) if added.any() else added
            return solve_discrete_lyapunov(np.sqrt(self.gamma) * self.closed_loop(K), self.start + noise)
        total, moment = np.zeros_like(self.start), self.start
        for t in range(steps):
            total = total + self.gamma**t * moment
            moment = self._step_moment(K, moment)
        return total


def _square(x: Float[np.ndarray, "*batch n"], matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "*batch"]:
    return np.einsum("...i,ij,...j->...", x, matrix, x)
