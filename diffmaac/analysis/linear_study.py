"""The linear-quadratic study: a linear-Gaussian policy, a model and a critic learned from its data, exact gradients.

Figure 3 of the paper (arXiv 2005.08068) asks how the error of the policy gradient depends on the horizon. On the double
integrator the answer needs no sampled reference: the gradient of the return, and that of J_H with true dynamics and
true critic, are closed forms (`analysis.lqr`). Start states are drawn from the policy's own stationary distribution, as
from a replay of its data, so that what depends on H is the gradient alone and not how the states settle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor

from diffmaac import seeding
from diffmaac.analysis.lqr import LinearQuadraticProblem, riccati
from diffmaac.analysis.policy_gradient import LEARNED, TRUE, ClosedForm, Parts, gradient
from diffmaac.analysis.settings import GradientErrorSettings
from diffmaac.dynamics import AbstractDynamics, GaussianEnsemble, LearnedDynamics, LinearDynamics, Noise
from diffmaac.errors import TaskError
from diffmaac.nn import Critics, LinearGaussianPolicy
from diffmaac.objectives import PathwiseNoise, critic_loss, soft_td_target
from diffmaac.settings import ModelSettings
from diffmaac.system import LinearSystem
from diffmaac.task import Task
from diffmaac.training.fit import EnsembleFitter
from diffmaac.typed import lerp_

MODEL = ModelSettings(members=5, model_hidden=[64, 64], model_epochs=100)
SOBOL_CHUNK = 2**15
BOUND_SAMPLES = 256
"""Samples for the constants of the bound."""


@dataclass(frozen=True)
class StudySettings:
    """The policy, the data and the fits of the study."""

    gamma: float = GradientErrorSettings.gamma
    """Short enough that a horizon of 32 spans three times 1 / (1 - gamma)."""
    caution: float = GradientErrorSettings.caution
    """The policy is optimal for a control cost so many times the task's: off the optimum, so that there is a gradient.
    By default it is quick, so that its trajectories settle (rho = 0.8) within the horizons that are compared; at 10 it
    is slow (rho = 0.97), and errors of the model add up."""
    action_std: float = 0.3
    process_std: float = GradientErrorSettings.process_std
    """Standard deviation of the noise that each step adds to each coordinate."""
    transitions: int = GradientErrorSettings.transitions
    """Real transitions that model and critic learn from."""
    critic_transitions: int = GradientErrorSettings.critic_transitions
    """The same for the critic alone; 0: those of the model."""
    critic_updates: int = GradientErrorSettings.critic_updates
    critic_lr: float = 1e-3
    critic_hidden: tuple[int, ...] = (64, 64)
    batch: int = 256
    tau: float = 0.02
    samples: int = 2**15
    chunk: int = 1024


class QuadraticCritic:
    """The true Q of a linear-quadratic problem, as a differentiable torch function: (*batch) -> (1, *batch)."""

    def __init__(self, problem: LinearQuadraticProblem, gain: np.ndarray):
        P = problem.cost_matrix(gain)
        self._A, self._B, self._Q, self._R, self._P = (
            torch.from_numpy(np.array(x)) for x in (problem.A, problem.B, problem.Q, problem.R, P)
        )
        self._gamma = problem.gamma
        self._constant = problem.gamma * (float(np.trace(problem.process_noise @ P)) + problem.constant_cost(gain))

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        after = obs @ self._A.T + action @ self._B.T
        cost = _square(obs, self._Q) + _square(action, self._R) + self._gamma * _square(after, self._P)
        return -(cost + self._constant)[None]


@dataclass(frozen=True)
class Study:
    """The problem, its policy, and their closed forms."""

    task: Task
    system: LinearSystem
    problem: LinearQuadraticProblem
    gain: np.ndarray
    settings: StudySettings

    @classmethod
    def of(cls, task: Task, settings: StudySettings) -> "Study":
        """Raises TaskError for a task without linear dynamics, or whose reward is not a quadratic form."""
        if not isinstance(task.system, LinearSystem):
            raise TaskError(
                f"env={task.name} has no closed form: its dynamics are not linear. Give a run to compare with its true"
                " dynamics, or env=double_integrator."
            )
        A, B = task.system.A, task.system.B
        Q, R = quadratic_cost(task)
        gain, _ = riccati(A, B, Q, settings.caution * R, settings.gamma)
        noise = settings.action_std**2 * np.eye(len(R))
        process = settings.process_std**2 * np.eye(len(A))
        stationary = solve_discrete_lyapunov(A - B @ gain, B @ noise @ B.T + process)
        problem = LinearQuadraticProblem(
            A, B, Q, R, start=stationary, action_noise=noise, process_noise=process, gamma=settings.gamma
        )
        return cls(task, task.system, problem, gain, settings)

    def policy(self) -> LinearGaussianPolicy:
        std = torch.full((self.problem.B.shape[1],), self.settings.action_std, dtype=torch.float64)
        return LinearGaussianPolicy(torch.from_numpy(self.gain), std)

    def closed_form(self) -> ClosedForm:
        def flat(x: np.ndarray) -> Tensor:
            return torch.from_numpy(x.flatten())

        return ClosedForm(
            lambda steps: flat(self.problem.objective_gradient(self.gain, steps)),
            flat(self.problem.return_gradient(self.gain)),
        )

    def start(self, size: int, generator: torch.Generator) -> Tensor:
        """(size, obs) from N(0, S_0)."""
        root = torch.from_numpy(np.linalg.cholesky(self.problem.start))
        return torch.randn(size, len(root), generator=generator, dtype=torch.float64) @ root.T

    def parts(self, dynamics: Sequence[str], seed: int) -> Parts:
        """Fits what is learned, on data of the policy, and puts it beside the truth."""
        parts: dict[str, AbstractDynamics] = {TRUE: self.truth()}
        s = self.settings
        data = self._collect(s.transitions, seeding.torch_generator(seed, "data"))
        critic_data = data
        if s.critic_transitions:
            critic_data = self._collect(s.critic_transitions, seeding.torch_generator(seed, "critic data"))
        if LEARNED in dynamics:
            parts[LEARNED] = self._fit_model(data, seeding.torch_generator(seed, "model"))
        exact = QuadraticCritic(self.problem, self.gain)
        return Parts(
            task=self.task,
            policy=self.policy(),
            critic=self._fit_critic(critic_data, seeding.torch_generator(seed, "critic")),
            true_critic=lambda size, generator: exact,
            dynamics=parts,
            start=self.start,
            alpha=0.0,
            gamma=s.gamma,
            closed_form=self.closed_form(),
        )

    def estimator_error(self, horizon: int, samples: int, seed: int) -> float:
        """Relative L2 error of the pathwise estimator with true f and true Q: noise alone, and less of it the more
        samples. They are scrambled Sobol points, which fill the space of start states and noise evenly."""
        actions, states = self.problem.B.shape[1], len(self.problem.A)
        sizes = [states, (horizon + 1) * actions, horizon * states]
        engine = torch.quasirandom.SobolEngine(sum(sizes), scramble=True, seed=seed)
        parts = self._truth()
        root = torch.from_numpy(np.linalg.cholesky(self.problem.start))
        total, chunks = torch.zeros(0), max(1, samples // SOBOL_CHUNK)
        for index in range(chunks):
            points = engine.draw(SOBOL_CHUNK, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
            first, policy, process = torch.special.ndtri(points).split(sizes, 1)
            policy = policy.view(SOBOL_CHUNK, horizon + 1, actions).transpose(0, 1).contiguous()
            member = torch.zeros(SOBOL_CHUNK, dtype=torch.long)
            steps = tuple(Noise(member, x) for x in process.split(states, 1)[:horizon])
            noise = PathwiseNoise(policy, steps)
            estimate = gradient(parts, parts.dynamics[TRUE], parts.critic, first @ root.T, noise)
            total = estimate if index == 0 else total + estimate
        reference = self.closed_form().objective(horizon)
        return float((total / chunks - reference).norm() / reference.norm())

    def truth(self) -> LinearDynamics:
        """The true dynamics, process noise included."""
        return LinearDynamics(self.system, np.full(len(self.problem.A), self.settings.process_std))

    def _truth(self) -> Parts:
        exact = QuadraticCritic(self.problem, self.gain)
        truth = {TRUE: self.truth()}
        s = self.settings
        return Parts(
            self.task,
            self.policy(),
            exact,
            lambda size, generator: exact,
            truth,
            self.start,
            0.0,
            s.gamma,
            self.closed_form(),
        )

    @torch.no_grad()
    def _collect(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """obs, action, next obs: `count` transitions of the policy from states of its stationary distribution."""
        policy, truth = self.policy(), self.truth()
        obs = self.start(count, generator)
        noise = torch.randn(count, policy.action_size, generator=generator, dtype=torch.float64)
        action, _ = policy.sample(obs, noise)
        return obs, action, truth.step(obs, action, truth.sample_noise(count, generator, torch.float64))

    def _fit_model(self, data: tuple[Tensor, Tensor, Tensor], generator: torch.Generator) -> LearnedDynamics:
        states, actions = self.problem.B.shape
        network = GaussianEnsemble(states, actions, MODEL.members, MODEL.model_hidden, generator)
        obs, action, obs_tp1 = (x.float() for x in data)
        EnsembleFitter(network, MODEL).fit(obs, action, obs_tp1, generator)
        return LearnedDynamics(network.double().requires_grad_(False))

    def _fit_critic(self, data: tuple[Tensor, Tensor, Tensor], generator: torch.Generator) -> Critics:
        """Temporal differences of the fixed policy, by the objectives that training uses."""
        s, policy = self.settings, self.policy()
        sizes = (len(self.problem.A), self.problem.B.shape[1])
        critics, target = (Critics(*sizes, s.critic_hidden, generator).double() for _ in range(2))
        target.load_state_dict(critics.state_dict())
        parameters: list[Tensor] = list(critics.parameters())
        followers: list[Tensor] = list(target.parameters())
        optimizer = torch.optim.Adam(parameters, s.critic_lr, fused=True)
        obs, action, obs_tp1 = data
        reward = self.task.start_reward(obs, action)
        discount, alpha = obs.new_full((s.batch,), s.gamma), obs.new_zeros(())
        for _ in range(s.critic_updates):
            rows = torch.randint(len(obs), (s.batch,), generator=generator)
            with torch.no_grad():
                noise = torch.randn(s.batch, sizes[1], generator=generator, dtype=torch.float64)
                action_tp1, log_prob = policy.sample(obs_tp1[rows], noise)
                q_tp1 = target(obs_tp1[rows], action_tp1)
                goal = soft_td_target(reward[rows], discount, q_tp1, log_prob, alpha)
            loss, _ = critic_loss(critics(obs[rows], action[rows]), goal)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                lerp_(followers, parameters, s.tau)
        return critics.requires_grad_(False)


def quadratic_cost(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Q and R of a reward -(s'Qs + a'Ra), read off by evaluating it. Raises TaskError where it is something else."""
    n, m = task.obs_size, task.action_size

    def cost(x: Tensor) -> Tensor:
        return -task.start_reward(x[..., :n], x[..., n:])

    unit = torch.eye(n + m, dtype=torch.float64)
    pairs = cost(unit[:, None] + unit[None])
    single = cost(unit)
    form = 0.5 * (pairs - single[:, None] - single[None])
    probe = torch.randn(16, n + m, generator=seeding.torch_generator(0, "probe"), dtype=torch.float64)
    mixed = form[:n, n:].abs().max() if m else 0.0
    if not torch.allclose(cost(probe), _square(probe, form), rtol=1e-9, atol=1e-12) or mixed > 1e-12:
        raise TaskError(f"the reward of env={task.name} is not -(s'Qs + a'Ra), so there is no closed form.")
    return form[:n, :n].numpy(), form[n:, n:].numpy()


def _square(x: Tensor, matrix: Tensor) -> Tensor:
    return ((x @ matrix) * x).sum(-1)
