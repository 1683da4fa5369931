"""A sweep whose settings Optuna proposes: each trial is a combination, trained on every seed. Loads Optuna."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from diffmaac.errors import DiffmaacError, SettingError
from diffmaac.experiments.engine import AbstractEngine, trained
from diffmaac.experiments.grid import Space
from diffmaac.experiments.make import report
from diffmaac.experiments.plan import PlannedRun
from diffmaac.experiments.watch import Board, watched
from diffmaac.result import Table
from diffmaac.runs.metrics import read_evaluation
from diffmaac.settings.field import shown
from diffmaac.tasks import get_task, resolve_task

JOURNAL = "optuna.journal"
LOGARITHMIC = 10.0
"""A range of positive numbers is searched on a logarithmic scale where its ends differ by this factor."""


class Search:
    """Trials of a study in `folder`, which goes on where it was stopped."""

    def __init__(self, space: Space, folder: Path, trials: int):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._folder, self._most = space, folder, trials
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        sampler = optuna.samplers.TPESampler(seed=0)
        self.study = optuna.create_study(
            storage=storage, study_name="sweep", sampler=sampler, direction="maximize", load_if_exists=True
        )
        self._task = get_task(space.env)
        self._open: dict[int, set[str]] = {}
        self.broken: list[str] = []

    def run(self, engine: AbstractEngine) -> None:
        """Trains what the study asks for, until it has its trials."""
        engine.slots = engine.parallel  # a trial is proposed when it can begin, from all that are known by then
        board = Board([], engine.parallel)
        with watched(board):
            for run, error in trained(engine, self._proposed(board)):
                board.end(run, bool(error))
                report(run, error, board)
                if error:
                    self.broken.append(error)
                self._ended(run, bool(error))

    def runs_of(self, trial: BaseTrial | FrozenTrial) -> list[PlannedRun]:
        """A run for each seed. Raises SettingError where its settings contradict each other."""
        words: dict[str, Any] = {"threads": 1, **self._space.fixed, **self._chosen(trial)}
        steps = resolve_task(self._task, words)[1].run.steps
        variant, label = f"trial{trial.number}", f"trial {trial.number}"
        return [
            PlannedRun(self._folder, self._task.name, variant, label, {**words, "steps": steps, "seed": seed})
            for seed in self._space.seeds
        ]

    def best(self) -> list[FrozenTrial]:
        """The trials that ended well, the best first."""
        done = self.study.get_trials(states=[TrialState.COMPLETE])
        return sorted(done, key=lambda trial: -(trial.value or 0.0))

    def words(self) -> dict[str, Any]:
        """The settings of the best trial. Raises SettingError where none ended well."""
        if not self.best():
            raise SettingError(f"no trial ended well. {self.broken[0] if self.broken else ''}".strip())
        return {**self._space.fixed, **self._chosen(self.best()[0])}

    def table(self) -> Table:
        """All trials that ended well, the best first."""
        names = [*self._space.ranges, *self._space.choices]
        trials = [(trial, self._chosen(trial)) for trial in self.best()]
        cells = [[str(t.number), *(_short(words[name]) for name in names), f"{t.value:.4g}"] for t, words in trials]
        return Table(["trial", *names, "return"], cells)

    def _proposed(self, board: Board) -> Iterator[PlannedRun]:
        for trial in self.study.get_trials(states=[TrialState.RUNNING]):  # those of a search that was stopped
            yield from self._begun(trial, board)
        while len(self.study.trials) < self._most:
            yield from self._begun(self.study.ask(_distributions(self._space)), board)

    def _begun(self, trial: BaseTrial | FrozenTrial, board: Board) -> Iterator[PlannedRun]:
        """The runs of a trial that are not done."""
        try:
            runs = self.runs_of(trial)
            missing = [run for run in runs if not run.done()]
        except DiffmaacError as error:
            self.broken.append(f"trial {trial.number}: {error}")
            self.study.tell(trial.number, state=TrialState.FAIL)
            return
        self._open[trial.number] = {run.name for run in missing}
        if not missing:
            self._tell(trial.number, runs)
        for run in missing:
            board.add(run)
            yield run

    def _ended(self, run: PlannedRun, failed: bool) -> None:
        """The trial of `run` is told its value with the last of its runs: the mean of their returns."""
        number = int(run.variant.removeprefix("trial"))
        left = self._open.get(number)
        if left is None:  # another of its runs has failed
            return
        left.discard(run.name)
        if failed:
            del self._open[number]
            self.study.tell(number, state=TrialState.FAIL)
        elif not left:
            self._tell(number, self.runs_of(self.study.trials[number]))

    def _tell(self, number: int, runs: list[PlannedRun]) -> None:
        returns = [(read_evaluation(run.path, "return") or {}).get("return") for run in runs]
        known = [float(value) for value in returns if value is not None]
        self._open.pop(number, None)
        if len(known) == len(runs):
            self.study.tell(number, sum(known) / len(known))
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def _chosen(self, trial: BaseTrial | FrozenTrial) -> dict[str, Any]:
        """The settings that tell the trial from others; a choice is kept as the text that the command line has."""
        values: dict[str, Any] = {}
        for name, value in trial.params.items():
            alternatives = self._space.choices.get(name)
            values[name] = value if alternatives is None else {shown(x): x for x in alternatives}[value]
        return values


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else shown(value)


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """What Optuna draws from; wide ranges of positive numbers by their logarithm."""
    chosen: dict[str, BaseDistribution] = {}
    for name, (low, high) in space.ranges.items():
        if isinstance(low, int):
            chosen[name] = IntDistribution(low, int(high))
        else:
            chosen[name] = FloatDistribution(low, high, log=low > 0 and high >= LOGARITHMIC * low)
    choices = {name: CategoricalDistribution([shown(x) for x in values]) for name, values in space.choices.items()}
    return chosen | choices
