"""The training loop: a page of named steps."""

import dataclasses
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from diffmaac import seeding
from diffmaac.algorithms import ActorCritic, Metrics
from diffmaac.dynamics import AbstractDynamics, LearnedDynamics, true_dynamics
from diffmaac.dynamics.accuracy import jacobian_errors, summary
from diffmaac.errors import CheckpointError, DivergenceError, SettingError
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT, IDENTIFICATION
from diffmaac.runs.loggers import loggers_of
from diffmaac.runs.metrics import MetricsLog
from diffmaac.runs.settings import read_settings, write_settings
from diffmaac.settings import Settings
from diffmaac.task import Task
from diffmaac.training.agent import check_task
from diffmaac.training.best import keep_if_best
from diffmaac.training.collector import Collector
from diffmaac.training.dynamics import make_dynamics, uses_identification
from diffmaac.training.evaluation import Evaluation, run_episodes
from diffmaac.training.experience import Experience
from diffmaac.training.fit import EnsembleFitter, held_out_rows
from diffmaac.training.graphed import AbstractRecorder, CudaRecorder, Graphed
from diffmaac.training.machine import device_of, out_of_memory
from diffmaac.training.practice import practice
from diffmaac.training.progress import Means, ProgressLine, Stopwatch
from diffmaac.types import Transition

_LOGGER = logging.getLogger(__name__)
LOOK_STEPS = 100
"""Environment steps between two looks at whether all losses were finite. To look is to wait for the device."""
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
        if settings.data.fall_ends:
            task = practice(task, settings)
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
        self.experience = Experience(task, settings, self.agent, self.dynamics, self._generators, device)
        self._collector = Collector(task, settings, self.agent, self._generators["explore"], device)
        # Evenly spaced, since a batch is real transitions first, imagined ones behind.
        spaced = torch.linspace(0, settings.agent.batch_size - 1, settings.agent.start_states)
        self._start_rows = spaced.long().to(device)
        self._record(recorder)
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
        real = self.experience.real.all()
        rows = held_out_rows(len(real.obs_t), self.settings.model.validation)
        return Transition(*(column[rows.to(column.device)] for column in real))

    def train(self, progress: bool = True) -> None:
        """Runs to `settings.run.steps`.

        Raises DivergenceError, naming the step, and SettingError where a GPU's memory is full; the last checkpoint is
        then on disk.
        """
        run = self.settings.run
        started = time.perf_counter() - self._seconds
        with (
            MetricsLog(self.folder, self.step, loggers_of(self.folder, self.step, self.settings)) as log,
            ProgressLine(run.env, run.steps, self.step, progress) as line,
        ):
            while self.step < run.steps:
                try:
                    self._advance()
                    line.advance(self.step)
                    if self._epoch_is_over or self.step == run.steps:
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
            self.experience.check_finite()
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
            "replay": self.experience.real.state_dict(),
            "imagined": self.experience.imagined.state_dict(),
            "environment": self._collector.state_dict(),
            "device": self.device.type,
            "generators": {name: g.get_state() for name, g in self._generators.items()},
            "seconds": self._seconds,
            "means": self._means.state_dict(),
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
        self.experience.real.load_state_dict(state["replay"])
        self.experience.imagined.load_state_dict(state["imagined"])
        self._collector.load_state_dict(state["environment"])
        self._restore_generators(step, state)
        self._seconds = state["seconds"]
        if "means" in state:  # checkpoints of older versions have none
            self._means.load_state_dict(state["means"], self.device)
        if self.fitter is not None:
            self.fitter.load_state_dict(state["dynamics"])
        for recorded in (self._learn, self._collector, self.experience):
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

    def _record(self, recorder: AbstractRecorder | None) -> None:
        """Has what repeats recorded: updates, actions, imagination. What a graph cannot record runs as it is."""
        self._learn = Graphed(self._learned, recorder if self.agent.recordable else None)
        self._collector.record(recorder)
        self.experience.record(recorder)
        if recorder is not None:
            for optimizer in self.agent.optimizers:
                recorder.prepare(optimizer)

    def _advance(self) -> None:
        """One environment step, and the learning that belongs to it."""
        data, past = self.settings.data, self.step - self.settings.data.random_steps
        if past >= 0:
            if self.fitter is not None and past % self.settings.model.model_every == 0:
                with self._watch.section("model"):
                    self._fit(self.fitter)
            if self.experience.imagines and past % data.imagine_every == 0:
                with self._watch.section("imagination"):
                    self.experience.imagine(self.step)
        with self._watch.section("environment"):
            self._collect()
        if past >= 0:
            with self._watch.section("optimisation"):
                for i in range(self.settings.agent.updates_per_step):
                    self._update(past * self.settings.agent.updates_per_step + i)
        if self.step % LOOK_STEPS == 0:
            self._look()

    def _collect(self) -> None:
        self.experience.real.add(self._collector.collect(self.step))
        self.step += 1

    def _fit(self, fitter: EnsembleFitter) -> None:
        real = self.experience.real.all()
        learned = (real.reward_t, self.ended(real))
        report = fitter.fit(real.obs_t, real.action_t, real.obs_tp1, self._generators["model"], learned)
        self._means.add(
            {"model_mse": torch.tensor(report.held_out_mse), "model_epochs": torch.tensor(float(report.epochs))}
        )

    def _update(self, count: int) -> None:
        """The `count`-th update of the critics, and of the policy where it is its turn."""
        agent = self.settings.agent
        setting = (count % agent.actor_every == 0, self.agent.horizon)
        self._means.add(self._learn(setting, *self.experience.draw(agent.batch_size)))

    def _learned(self, setting: tuple[bool, int], *rows: torch.Tensor) -> Metrics:
        """An update on the transitions in `rows`, of the policy as well where `setting` says so.

        The horizon is in `setting` since a recording holds the one with which it was made.
        """
        batch = self.experience.gather(rows)
        metrics = self.agent.update_critic(batch)
        if setting[0]:
            start = Transition(*(column[self._start_rows] for column in batch))
            metrics |= self.agent.update_actor(start)
        return metrics

    def _measure(self) -> dict[str, float]:
        """What is measured of the gradient at the end of an epoch, where it is asked for.

        A run may end within one. Its horizon is not chosen there, so that it can go on as a longer run would have.
        """
        agent, report = self.settings.agent, self.settings.report
        measured: dict[str, float] = {}
        if self.step <= self.settings.data.random_steps:  # nothing is learned yet
            return measured
        if agent.horizon == "auto" and self._epoch_is_over:
            chosen = self.agent.choose_horizon(self.experience.sample(agent.start_states).obs_t)
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

    @property
    def _epoch_is_over(self) -> bool:
        return self.step % self.settings.report.epoch_steps == 0

    def _end_epoch(self, log: MetricsLog) -> dict[str, float]:
        self._look()
        with self._watch.section("evaluation"):
            evaluation = self.evaluate(self.settings.report.eval_episodes)
        row = {"step": self.step, "seconds": round(self._seconds, 1), **evaluation.metrics(), **self._means.read()}
        if self._epoch_is_over:
            self._means.clear()
        row |= self._measure() | self._watch.pop()
        log.add(row)
        keep_if_best(self.folder, self.task, self.agent.evaluated_policy, self.step, evaluation)
        self.save()
        return row
