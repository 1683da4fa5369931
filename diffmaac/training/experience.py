"""What a run learns from: the transitions that it collects, and those that it imagines from them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from diffmaac.algorithms import ActorCritic
from diffmaac.dynamics import AbstractDynamics
from diffmaac.finite import FiniteFlags
from diffmaac.replay import Replay, concatenate
from diffmaac.rollout import imagine
from diffmaac.settings import Settings
from diffmaac.task import Task
from diffmaac.training.graphed import AbstractRecorder, Graphed
from diffmaac.typed import largest
from diffmaac.types import Transition

IMAGINED = "an imagined state"


class Experience:
    """The `real` transitions of a run, `imagined` ones from the dynamics where settings say so, and batches of both.

    Args:
        task: as it is trained on.
        dynamics: through which to imagine; None where the algorithm has none.
        generators: "imagine" for start states, actions and noise of rollouts, "batch" for what is drawn.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        agent: ActorCritic,
        dynamics: AbstractDynamics | None,
        generators: Mapping[str, torch.Generator],
        device: torch.device,
    ):
        data = settings.data
        self.task, self._settings, self._agent, self._generators = task, settings, agent, generators
        self._dynamics = dynamics if data.data == "mixed" else None
        self.real = Replay(settings.run.steps, task.obs_size, task.action_size, device)
        capacity = 1 if self._dynamics is None else data.imagined_states * data.imagined_keep
        self.imagined = Replay(capacity, task.obs_size, task.action_size, device)
        self._finite = FiniteFlags({IMAGINED: "Try a shorter rollout_length."}, device)
        self.record(None)

    @property
    def imagines(self) -> bool:
        """Whether there are imagined transitions."""
        return self._dynamics is not None

    def record(self, recorder: AbstractRecorder | None) -> None:
        """Has rollouts recorded, where a graph can hold them: not where their number depends on the states."""
        ends = self.task.terminated is not None or self.task.learns_end
        static = self._dynamics is not None and self._dynamics.recordable and not ends
        self._roll, self._length = Graphed(self._rolled_out, recorder if static else None), 0

    def forget(self) -> None:
        """Drops what was recorded."""
        self._roll.forget()

    def check_finite(self) -> None:
        """Raises DivergenceError where an imagined state was not finite since the last check."""
        self._finite.check()

    def imagine(self, step: int) -> None:
        """Adds rollouts of the policy, as long as they are at environment step `step`, from real states."""
        length = self.rollout_length(step)
        if length != self._length:  # which does not come back: what was recorded for it keeps its memory in vain
            self._roll.forget()
            self._length = length
        count = max(1, self._settings.data.imagined_states // length)
        self.imagined.add(self._roll(length, self.real.sample(count, self._generators["imagine"]).obs_t))

    def rollout_length(self, step: int) -> int:
        """Grows linearly between the two ends of the ramp (Janner et al. 2019, MBPO, appendix C)."""
        (low, high), ramp = self._settings.data.rollout_length, self._settings.data.rollout_ramp
        return int(np.interp(step, ramp, (low, high)))

    def draw(self, batch: int) -> list[torch.Tensor]:
        """The rows of a batch in each of its sources: of real transitions, then of imagined ones."""
        return [replay.sample_index(n, self._generators["batch"]) for replay, n in self._sources(batch)]

    def gather(self, rows: Sequence[torch.Tensor]) -> Transition:
        """What `draw` has drawn."""
        sources = self._sources(sum(map(len, rows)))
        return concatenate(*(replay.at(index) for (replay, _), index in zip(sources, rows, strict=True)))

    def sample(self, batch: int) -> Transition:
        """A batch."""
        return self.gather(self.draw(batch))

    def _sources(self, batch: int) -> list[tuple[Replay, int]]:
        """From where the transitions of a batch come, and how many."""
        if self._dynamics is None:
            return [(self.real, batch)]
        real = round(self._settings.data.real_ratio * batch)
        return [(replay, n) for replay, n in ((self.real, real), (self.imagined, batch - real)) if n]

    def _rolled_out(self, length: int, start: torch.Tensor) -> Transition:
        """Rollouts of the policy from `start`."""
        assert self._dynamics is not None
        agent, data, generator = self._agent, self._settings.data, self._generators["imagine"]
        along = agent.policy, self._dynamics, self.task, start, length, self._settings.agent.gamma, generator
        imagined = imagine(*along, data.n_step, agent.alpha)
        self._finite.note(IMAGINED, largest([imagined.obs_tp1])[0])
        return imagined
