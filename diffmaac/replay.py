"""Replay: transitions in one preallocated tensor, oldest overwritten first."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from diffmaac.errors import SettingError
from diffmaac.types import Transition


class Replay:
    """A ring of `capacity` transitions, one row each, so that sampling a batch is a single gather."""

    def __init__(self, capacity: int, obs_size: int, action_size: int, device: torch.device | str = "cpu"):
        self.capacity = capacity
        self._widths = [obs_size, action_size, 1, 1, obs_size, 1]
        try:
            self._rows = torch.zeros(capacity, sum(self._widths), device=device)
        except RuntimeError as error:  # torch's allocator has no error of its own
            raise SettingError(
                f"a replay of {capacity} transitions does not fit into memory. Give smaller steps= or imagined_states=."
            ) from error
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, transition: Transition) -> None:
        """Adds a batch, in order. Raises ValueError where the batch alone exceeds the capacity."""
        n = transition.obs_t.shape[0]
        if n > self.capacity:
            raise ValueError(f"a batch of {n} transitions does not fit into a replay of {self.capacity}.")
        columns = [column.reshape(n, width) for column, width in zip(transition, self._widths, strict=True)]
        rows = torch.cat(columns, -1)
        start = self._added % self.capacity
        first = min(n, self.capacity - start)
        self._rows[start : start + first] = rows[:first]
        self._rows[: n - first] = rows[first:]
        self._added += n

    def sample_index(self, batch: int, generator: torch.Generator) -> Int[Tensor, " batch"]:
        """Indices uniform over what is stored, with replacement."""
        return torch.randint(len(self), (batch,), generator=generator, device=self._rows.device)

    def at(self, index: Int[Tensor, " batch"]) -> Transition:
        """The transitions at these places."""
        return self._split(self._rows[index])

    def sample(self, batch: int, generator: torch.Generator) -> Transition:
        """A batch, uniform with replacement."""
        return self.at(self.sample_index(batch, generator))

    def all(self) -> Transition:
        """Everything stored, oldest first (views where the ring has not yet closed)."""
        start = self._added % self.capacity if self._added > self.capacity else 0
        rows = self._rows[: len(self)]
        return self._split(rows if start == 0 else rows.roll(-start, 0))

    def state_dict(self) -> dict[str, Any]:
        """The rows stored and how many were ever added, as a tree that `checkpoint.save` writes."""
        return {"rows": self._rows[: len(self)], "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; of a replay of another capacity the newest rows that fit, oldest first."""
        rows, added = state["rows"], state["added"]
        if added > len(rows) and len(rows) != self.capacity:  # a ring that has closed, of another size
            rows, added = rows.roll(-(added % len(rows)), 0), len(rows)
        if len(rows) > self.capacity:
            rows, added = rows[-self.capacity :], self.capacity
        self._rows[: len(rows)] = rows
        self._added = added

    def _split(self, rows: Tensor) -> Transition:
        obs_t, action_t, reward_t, discount_tp1, obs_tp1, log_prob_t = rows.split(self._widths, -1)
        return Transition(obs_t, action_t, reward_t[:, 0], discount_tp1[:, 0], obs_tp1, log_prob_t[:, 0])


def concatenate(*batches: Transition) -> Transition:
    """Several batches as one, in order."""
    if len(batches) == 1:
        return batches[0]
    return Transition(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
