"""The training loop: a page of named steps."""

import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffmaac import seeding
from diffmaac.algorithms import ActorCritic, Metrics
from diffmaac.dynamics import AbstractDynamics, LearnedDynamics, true_dynamics
from diffmaac.dynamics.accuracy import jacobian_errors, summary
from diffmaac.errors import CheckpointError, DivergenceError, SettingError, TaskError
from diffmaac.finite import FiniteFlags
from diffmaac.replay import Replay, concatenate
from diffmaac.rollout import imagine
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT, IDENTIFICATION
from diffmaac.runs.loggers import loggers_of
from diffmaac.runs.metrics import MetricsLog
from diffmaac.runs.settings import read_settings, write_settings
from diffmaac.settings import Settings
from diffmaac.task import Task
from diffmaac.training.agent import check_task
from diffmaac.training.best import keep_if_best
from diffmaac.training.carrier import Carrier
from diffmaac.training.dynamics import make_dynamics, uses_identification
from diffmaac.training.evaluation import Evaluation, run_episodes
from diffmaac.training.fit import EnsembleFitter, held_out_rows
from diffmaac.training.graphed import AbstractRecorder, CudaRecorder, Graphed
from diffmaac.training.machine import device_of, out_of_memory
from diffmaac.training.practice import practice
from diffmaac.training.progress import Means, ProgressLine, Stopwatch
from diffmaac.typed import largest
from diffmaac.types import Transition

_LOGGER = logging.getLogger(__name__)
LOOK_STEPS = 100
"""Environment steps between two looks at whether all losses were finite. To look is to wait for the device."""
IMAGINED = "an imagined state"
ERROR_EPOCHS, ERROR_STATES = 5, 64
"""How often eps_f is logged where it is asked for, and on how many states."""


class Trainer:
    """One run: `begin` or `restore` it in a directory, then `train`.

    Data, networks and normaliser lie on the run's device; one transition an environment step crosses over, and one
    action comes back. On CUDA what repeats is recorded as CUDA graphs (`diffmaac.training.graphed`), unless
    `cuda_graph` is false; `recorder` is another way of recording. A run with `identified` keeps a copy of that file,
    from which `identified` takes it when the run is taken up again.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        recorder: AbstractRecorder | None = None,
        identified: Path | None = None,
    ):
        self.task, self.settings = task, settings
        task = self._trained = practice(task, settings) if settings.data.fall_ends else task
        self.folder = Path()
        self.step = self._saved_step = self._looked = 0
        seed, device = settings.run.seed, device_of(settings)
        self.device = device
        streams = ("init", "agent", "model", "imagine", "batch", "explore")
        self._generators = {name: seeding.torch_generator(seed, name, device) for name in streams}
        if recorder is None and device.type == "cuda" and settings.run.cuda_graph:
            recorder = CudaRecorder(self._generators.values())
        self._identified = Path(settings.run.identified) if identified is None else identified
        self.model, self.dynamics = make_dynamics(task, settings, self._generators["init"], self._identified)
        self.fitter = None if self.model is None else EnsembleFitter(self.model.network, settings.model, recorder)
        self.agent = ActorCritic(
            task, settings.agent, self.dynamics, self._generators["init"], self._generators["agent"]
        )
        data = settings.data
        self.replay = Replay(settings.run.steps, task.obs_size, task.action_size, device)
        self._imagination = self.dynamics if data.data == "mixed" else None
        capacity = 1 if self._imagination is None else data.imagined_states * data.imagined_keep
        self.imagined = Replay(capacity, task.obs_size, task.action_size, device)
        episode_steps = min(task.episode_steps, data.reset_every or task.episode_steps)
        self._env = dataclasses.replace(task, episode_steps=episode_steps).make_env()
        self._carrier = Carrier(2 + task.obs_size, device)
        self._obs = self._on_device(self._env.reset(seed=seeding.integer_seed(seed, "environment"))[0])
        # Evenly spaced, since a batch is real transitions first, imagined ones behind.
        spaced = torch.linspace(0, settings.agent.batch_size - 1, settings.agent.start_states)
        self._start_rows = spaced.long().to(device)
        self._finite = FiniteFlags({IMAGINED: "Try a shorter rollout_length."}, device)
        self._use(recorder)
        self._means, self._watch, self._seconds = Means(), Stopwatch(), 0.0
        self._truth: AbstractDynamics | None = None

    @classmethod
    def load(cls, folder: Path, env: str | Task | None = None) -> "Trainer":
        """The trainer of the run in `folder`, as its checkpoint has it, to be looked at.

        It lies on the CPU, wherever the run was made. Raises as `restore` does.
        """
        task, settings = read_settings(folder, {}, env)
        settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, device="cpu"))
        trainer = cls(task, settings, identified=folder / IDENTIFICATION)
        trainer.restore(folder)
        return trainer

    def fitted_model(self, advice: str) -> LearnedDynamics:
        """The run's model. Raises SettingError where it has none or one never fitted, ending with `advice`."""
        run, random = self.settings.run, self.settings.data.random_steps
        if self.model is None:
            raise SettingError(
                f"the run '{self.folder}' has no learned model (algorithm={run.algorithm}, dynamics={run.dynamics})."
                f" {advice}"
            )
        if self.step <= random:
            raise SettingError(
                f"at step {self.step} the model of the run '{self.folder}' was never fitted, which begins after"
                f" random_steps={random}. Train on. {advice}"
            )
        return self.model

    def ended(self, transition: Transition) -> torch.Tensor:
        """1 where the episode terminated after the transition, else 0: (batch). With gamma=0 nobody can tell: 0."""
        return ((transition.discount_tp1 == 0) & (self.settings.agent.gamma > 0)).to(transition.reward_t)

    def held_out(self) -> Transition:
        """The real transitions on which no fit trains, in the order in which they were collected."""
        real = self.replay.all()
        rows = held_out_rows(len(real.obs_t), self.settings.model.validation)
        return Transition(*(column[rows.to(column.device)] for column in real))

    def train(self, progress: bool = True) -> None:
        """Runs to `settings.run.steps`.

        Raises DivergenceError, naming the step, and SettingError where a GPU's memory is full; the last checkpoint is
        then on disk.
        """
        run, report = self.settings.run, self.settings.report
        started = time.perf_counter() - self._seconds
        with (
            MetricsLog(self.folder, self.step, loggers_of(self.folder, self.step, self.settings)) as log,
            ProgressLine(run.env, run.steps, self.step, progress) as line,
        ):
            while self.step < run.steps:
                try:
                    self._advance()
                    line.advance(self.step)
                    if self.step % report.epoch_steps == 0 or self.step == run.steps:
                        self._seconds = time.perf_counter() - started
                        line.show(self._end_epoch(log))
                except DivergenceError as error:
                    raise DivergenceError(self._stopped(self._cause(error))) from error
                except torch.OutOfMemoryError as error:
                    raise SettingError(self._stopped(out_of_memory(error, self.task, self.settings))) from error

    def _stopped(self, reason: object) -> str:
        return (
            f"stopped at environment step {self.step}: {reason} "
            f"The checkpoint of step {self._saved_step} is kept in {self.folder}."
        )

    def _cause(self, error: DivergenceError) -> DivergenceError:
        """Of what stopped the run the first: an action that is not finite comes of an update that was not."""
        try:
            self._look()
        except DivergenceError as cause:
            return cause
        return error

    def _look(self) -> None:
        """Raises DivergenceError where a loss, a parameter or an imagined state was not finite since the last look."""
        try:
            self._finite.check()
            self.agent.check_finite()
        except DivergenceError as error:
            raise DivergenceError(f"{error} When it was last looked at, at step {self._looked}, it was.") from error
        self._looked = self.step

    def rehearse(self, steps: int) -> dict[str, float]:
        """Seconds of each part of `steps` environment steps with updates, the first with a fit and an imagination.

        For a trainer that is then thrown away: nothing is written.
        """
        while self.step < self.settings.data.random_steps:
            self._advance()
        self._watch.pop()
        for _ in range(steps):
            self._advance()
        return {name.removeprefix("seconds_"): seconds for name, seconds in self._watch.pop().items()}

    def begin(self, folder: Path) -> None:
        """Gives a new run its directory, and writes its settings and the checkpoint of step 0 there."""
        self.folder = folder
        write_settings(folder, self.settings)
        if uses_identification(self.settings):
            shutil.copyfile(self._identified, folder / IDENTIFICATION)
        self.save()

    def evaluate(self, episodes: int) -> Evaluation:
        """The evaluated policy's mode on separate environments with fixed seeds."""
        return run_episodes(self.task, self.agent.evaluated_policy.mode, episodes, self.settings.run.seed, self.device)

    def save(self) -> None:
        """Writes everything that the rest of the run depends on."""
        state: dict[str, Any] = {
            "task": self.task.fingerprint(),
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "imagined": self.imagined.state_dict(),
            "environment": self._env.snapshot(),
            "device": self.device.type,
            "generators": {name: g.get_state() for name, g in self._generators.items()},
            "seconds": self._seconds,
        }
        if self.fitter is not None:
            state["dynamics"] = self.fitter.state_dict()
        checkpoint.save(self.folder / CHECKPOINT, self.step, state)
        self._saved_step = self.step

    def restore(self, folder: Path) -> None:
        """Takes up the run in `folder` where its checkpoint stands.

        Raises CheckpointError as `checkpoint.load` does, or where the checkpoint does not fit task and settings;
        SettingError where the run is past the steps now asked for.
        """
        self.folder = folder
        step, state = checkpoint.load(folder / CHECKPOINT)
        if step > self.settings.run.steps:
            raise SettingError(
                f"steps={self.settings.run.steps}: the run is at step {step} already. Give a larger steps=."
            )
        check_task(self.task, state, folder)
        try:
            self._restore(step, state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint in '{self.folder}' does not fit its settings or task. Have they changed since?"
            ) from error
        self.step = self._saved_step = self._looked = step

    def _restore(self, step: int, state: dict[str, Any]) -> None:
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.imagined.load_state_dict(state["imagined"])
        self._env.restore(state["environment"])
        self._obs = self._on_device(self._env.observation())
        self._restore_generators(step, state)
        self._seconds = state["seconds"]
        if self.fitter is not None:
            self.fitter.load_state_dict(state["dynamics"])
        for recorded in (self._learn, self._act, self._roll):
            recorded.forget()

    def _restore_generators(self, step: int, state: dict[str, Any]) -> None:
        """Those of the checkpoint; on another device than it was made on, others, which seed and step determine."""
        made_on, here = state.get("device", "cpu"), self.device.type
        if made_on != here:
            _LOGGER.warning("made on device=%s: on %s it draws other numbers from step %s on.", made_on, here, step)
        for name, generator in self._generators.items():
            if made_on == here:
                generator.set_state(state["generators"][name])
            else:
                generator.manual_seed(seeding.integer_seed(self.settings.run.seed, f"{name} from step {step}"))

    def _use(self, recorder: AbstractRecorder | None) -> None:
        """Has what repeats recorded: updates, actions, imagination. What a graph cannot record runs as it is."""
        ends = self._trained.terminated is not None or self._trained.learns_end
        static = self.dynamics is not None and self.dynamics.recordable and not ends
        self._learn = Graphed(self._learned, recorder if self.agent.recordable else None)
        self._act = Graphed(self._acted, recorder)
        self._roll = Graphed(self._rolled_out, recorder if static else None)
        self._length = 0
        if recorder is not None:
            for optimizer in self.agent.optimizers:
                recorder.prepare(optimizer)

    def _on_device(self, obs: np.ndarray) -> torch.Tensor:
        """An observation as a batch of one."""
        return torch.as_tensor(obs, dtype=torch.float32, device=self.device)[None]

    def _advance(self) -> None:
        """One environment step, and the learning that belongs to it."""
        data, past = self.settings.data, self.step - self.settings.data.random_steps
        if past >= 0:
            if self.fitter is not None and past % self.settings.model.model_every == 0:
                with self._watch.section("model"):
                    self._fit(self.fitter)
            if self._imagination is not None and past % data.imagine_every == 0:
                with self._watch.section("imagination"):
                    self._imagine()
        with self._watch.section("environment"):
            self._collect()
        if past >= 0:
            with self._watch.section("optimisation"):
                for i in range(self.settings.agent.updates_per_step):
                    self._update(past * self.settings.agent.updates_per_step + i)
        if self.step % LOOK_STEPS == 0:
            self._look()

    def _collect(self) -> None:
        obs = self._obs
        action, log_prob = self._explore(obs)
        obs_tp1, reward, terminated, truncated, _ = self._env.step(action[0].cpu().numpy())
        discount = 0.0 if terminated else self.settings.agent.gamma
        sent, host = self._carrier.send(reward, discount, obs_tp1), self._carrier.host
        if not torch.isfinite(host[0]):
            raise TaskError(f"the reward of task '{self.task.name}' is {reward} at environment step {self.step}.")
        reward_t, discount_tp1, next_obs = sent[:, 0], sent[:, 1], sent[:, 2:]
        self.replay.add(Transition(obs, action, reward_t, discount_tp1, next_obs, log_prob))
        ended = terminated or truncated
        self._obs = self._on_device(self._env.reset()[0]) if ended else next_obs
        self.step += 1

    def _explore(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The next action (1, action), and its log density (1)."""
        if self.step >= self.settings.data.random_steps:
            return self._act(None, obs)
        shape = (1, self.task.action_size)
        uniform = 2 * torch.rand(shape, generator=self._generators["explore"], device=self.device) - 1
        return uniform, obs.new_full((1,), -math.log(2.0) * self.task.action_size)

    @torch.no_grad()
    def _acted(self, setting: None, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An action of the policy (1, action), and its log density (1)."""
        shape, generator = (1, self.task.action_size), self._generators["explore"]
        noise = torch.randn(shape, generator=generator, device=self.device)
        action, _ = self.agent.policy.sample(obs, noise)
        # At the action as it is stored: of one rounded onto the border SVG can infer no other noise later.
        return action, self.agent.policy.log_prob(obs, action)

    def _fit(self, fitter: EnsembleFitter) -> None:
        real = self.replay.all()
        learned = (real.reward_t, self.ended(real))
        report = fitter.fit(real.obs_t, real.action_t, real.obs_tp1, self._generators["model"], learned)
        self._means.add(
            {"model_mse": torch.tensor(report.held_out_mse), "model_epochs": torch.tensor(float(report.epochs))}
        )

    def _imagine(self) -> None:
        length = self._rollout_length()
        if length != self._length:  # which does not come back: what was recorded for it keeps its memory in vain
            self._roll.forget()
            self._length = length
        count = max(1, self.settings.data.imagined_states // length)
        self.imagined.add(self._roll(length, self.replay.sample(count, self._generators["imagine"]).obs_t))

    def _rolled_out(self, length: int, start: torch.Tensor) -> Transition:
        """Rollouts of the policy from `start`."""
        assert self._imagination is not None
        agent, data, generator = self.agent, self.settings.data, self._generators["imagine"]
        along = agent.policy, self._imagination, self._trained, start, length, self.settings.agent.gamma, generator
        imagined = imagine(*along, data.n_step, agent.alpha)
        self._finite.note(IMAGINED, largest([imagined.obs_tp1])[0])
        return imagined

    def _rollout_length(self) -> int:
        """Grows linearly between the two ends of the ramp (Janner et al. 2019, MBPO, appendix C)."""
        (low, high), ramp = self.settings.data.rollout_length, self.settings.data.rollout_ramp
        return int(np.interp(self.step, ramp, (low, high)))

    def _update(self, count: int) -> None:
        """The `count`-th update of the critics, and of the policy where it is its turn."""
        agent = self.settings.agent
        setting = (count % agent.actor_every == 0, self.agent.horizon)
        self._means.add(self._learn(setting, *self._draw(agent.batch_size)))

    def _learned(self, setting: tuple[bool, int], *rows: torch.Tensor) -> Metrics:
        """An update on the transitions in `rows`, of the policy as well where `setting` says so.

        The horizon is in `setting` since a recording holds the one with which it was made.
        """
        batch = self._gather(rows)
        metrics = self.agent.update_critic(batch)
        if setting[0]:
            start = Transition(*(column[self._start_rows] for column in batch))
            metrics |= self.agent.update_actor(start)
        return metrics

    def _sources(self, batch: int) -> list[tuple[Replay, int]]:
        """From where the transitions of a batch come, and how many."""
        if self._imagination is None:
            return [(self.replay, batch)]
        real = round(self.settings.data.real_ratio * batch)
        return [(replay, n) for replay, n in ((self.replay, real), (self.imagined, batch - real)) if n]

    def _draw(self, batch: int) -> list[torch.Tensor]:
        """The rows of a batch in each of its sources."""
        return [replay.sample_index(n, self._generators["batch"]) for replay, n in self._sources(batch)]

    def _gather(self, rows: Sequence[torch.Tensor]) -> Transition:
        """What `_draw` has drawn."""
        sources = self._sources(sum(map(len, rows)))
        return concatenate(*(replay.at(index) for (replay, _), index in zip(sources, rows, strict=True)))

    def _sample(self, batch: int) -> Transition:
        return self._gather(self._draw(batch))

    def _measure(self) -> dict[str, float]:
        """What is measured of the gradient at the end of an epoch, where it is asked for."""
        agent, report = self.settings.agent, self.settings.report
        measured: dict[str, float] = {}
        if self.step <= self.settings.data.random_steps:  # nothing is learned yet
            return measured
        if agent.horizon == "auto":
            chosen = self.agent.choose_horizon(self._sample(agent.start_states).obs_t)
            measured |= {name: float(value) for name, value in chosen.items()}
        if report.log_model_error and self.model is not None and self.step // report.epoch_steps % ERROR_EPOCHS == 0:
            measured |= self._model_error(self.model)
        return measured

    def _model_error(self, model: LearnedDynamics) -> dict[str, float]:
        """eps_f on the last held-out real transitions."""
        real, last = self.held_out(), slice(-ERROR_STATES, None)
        if self._truth is None:
            self._truth = true_dynamics(self.task.system, "finite_difference")
        return summary(jacobian_errors(model, self._truth, real.obs_t[last], real.action_t[last]))

    def _end_epoch(self, log: MetricsLog) -> dict[str, float]:
        self._look()
        with self._watch.section("evaluation"):
            evaluation = self.evaluate(self.settings.report.eval_episodes)
        row = {"step": self.step, "seconds": round(self._seconds, 1), **evaluation.metrics(), **self._means.pop()}
        row |= self._measure() | self._watch.pop()
        log.add(row)
        keep_if_best(self.folder, self.task, self.agent.evaluated_policy, self.step, evaluation)
        self.save()
        return row
