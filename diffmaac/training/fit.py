"""How an ensemble is fitted to transitions: maximum likelihood, early stopping on those held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffmaac.dynamics import GaussianEnsemble
from diffmaac.finite import FiniteFlags
from diffmaac.nn import restore_optimizer
from diffmaac.settings import ModelSettings
from diffmaac.training.graphed import AbstractRecorder, Graphed

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it modulo 1 spread evenly: whether transition i is held out depends on i alone, in every fit."""
ADAM_BETAS = (0.9, 0.99)
"""A shorter memory of squared gradients than torch's 0.999: when the data move on, the first batches' large gradients
would otherwise hold the step size down for a thousand steps."""
EPOCH_BATCHES = 20
"""Fewest gradient steps between two looks at the held-out error; small data are passed over several times for it."""
IMPROVEMENT = 0.01
"""Relative fall of the held-out error that counts as an improvement (Janner et al. 2019, MBPO, reference code)."""
RECENT = 2000
"""Newest training rows from which a fit of `model_steps` draws its recent share."""
LOOKED_AT = 2000
"""Most rows on which such a fit looks at its held-out error, half of them the newest."""

LOSS = "the loss of the learned dynamics"

Batch = Int[Tensor, "members size"]


@dataclass(frozen=True)
class FitReport:
    """What a fit did: epochs, and the held-out mean squared error in normalised units, best of each member averaged."""

    epochs: int
    held_out_mse: float


class EnsembleFitter:
    """Fits an ensemble again and again as data come in, each time from the weights and moments of the last.

    With a `recorder` the gradient steps on full batches are recorded and replayed.
    """

    def __init__(self, network: GaussianEnsemble, settings: ModelSettings, recorder: AbstractRecorder | None = None):
        self.network, self.settings = network, settings
        weights = list(network.net.weights)
        others = [x for x in network.parameters() if all(x is not weight for weight in weights)]
        self._parameters = [*weights, *others]
        groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others}]
        self._optimizer = torch.optim.Adam(groups, settings.model_lr, betas=ADAM_BETAS, fused=True)
        self._finite = FiniteFlags({LOSS: "Try a smaller model_lr."}, network.y_mean.device)
        self._recorded = Graphed(lambda _, x, y: self._descend(x, y), recorder)
        if recorder is not None:
            recorder.prepare(self._optimizer)

    def fit(
        self,
        obs_t: Float[Tensor, "n obs"],
        action_t: Float[Tensor, "n action"],
        obs_tp1: Float[Tensor, "n obs"],
        generator: torch.Generator,
        learned: tuple[Float[Tensor, " n"], Float[Tensor, " n"]] | None = None,
    ) -> FitReport:
        """Maximum likelihood on a bootstrap sample for each member, until the held-out error stops falling.

        The transitions stand in the order in which they were collected. Each member ends with the weights of its own
        best epoch; the bounds of the variance, which all share, end with the last. Raises DivergenceError after an
        epoch in which the loss was not finite. `learned` are rewards, and 1 where the episode terminated, for the heads
        that there are.
        """
        s, x = self.settings, torch.cat([obs_t, action_t], -1)
        y = obs_tp1 - obs_t if learned is None else self.network.columns(obs_t, obs_tp1, *learned)
        held_out = held_out_rows(len(x), s.validation).to(x.device)
        x_train, y_train, x_test, y_test = x[~held_out], y[~held_out], x[held_out], y[held_out]
        self.network.fit_normaliser(x_train, y_train)
        n = len(x_train)
        if 0 < s.model_steps < s.model_epochs * max(EPOCH_BATCHES, -(-n // s.model_batch_size)):
            epochs = self._mixtures(n, generator)
            x_test, y_test = (_thinned(column, LOOKED_AT) for column in (x_test, y_test))
        else:
            epochs = self._passes(n, generator)
        best = self._held_out_mse(x_test, y_test)
        best_weights = [p.detach().clone() for p in self.network.net.parameters()]
        waited, epoch = 0, 0
        while epoch < s.model_epochs and waited < s.model_patience:
            for batch in next(epochs):
                self._step(x_train[batch], y_train[batch])
            self._finite.check()
            epoch += 1
            mse = self._held_out_mse(x_test, y_test)
            improved = mse < (1 - IMPROVEMENT) * best
            best = torch.where(improved, mse, best)
            for saved, p in zip(best_weights, self.network.net.parameters(), strict=True):
                saved.copy_(torch.where(improved[:, None, None], p.detach(), saved))
            waited = 0 if improved.any() else waited + 1
        with torch.no_grad():
            for saved, p in zip(best_weights, self.network.net.parameters(), strict=True):
                p.copy_(saved)
        return FitReport(epoch, float(best.mean()))

    def state_dict(self) -> dict[str, Any]:
        """Network, normaliser and optimiser, as a tree that `checkpoint.save` writes."""
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; step size and weight decay are those of the settings."""
        self.network.load_state_dict(state["network"])
        restore_optimizer(self._optimizer, state["optimizer"])
        self._recorded.forget()

    def _passes(self, n: int, generator: torch.Generator) -> Iterator[Iterator[Batch]]:
        """Epochs without end, each one a pass over each member's bootstrap sample of `n` rows, in a new order."""
        size = self.settings.model_batch_size
        bootstrap = torch.randint(n, (self.network.members, n), generator=generator, device=generator.device)
        bootstrap = bootstrap.repeat(1, -(-EPOCH_BATCHES * size // n) if n < EPOCH_BATCHES * size else 1)
        while True:
            keys = torch.rand(bootstrap.shape, generator=generator, device=generator.device)
            yield iter(bootstrap.gather(1, keys.argsort(1)).split(size, dim=1))

    def _mixtures(self, n: int, generator: torch.Generator) -> Iterator[Iterator[Batch]]:
        """Epochs without end, each `model_epochs`-th part of `model_steps` batches, drawn from recent rows and all."""
        s, device = self.settings, generator.device
        recent = round(s.model_recent * s.model_batch_size)

        def draw() -> Batch:
            new = torch.randint(
                max(0, n - RECENT), n, (self.network.members, recent), generator=generator, device=device
            )
            old = torch.randint(
                n, (self.network.members, s.model_batch_size - recent), generator=generator, device=device
            )
            return torch.cat([new, old], 1)

        while True:
            yield (draw() for _ in range(max(1, s.model_steps // s.model_epochs)))

    def _step(self, x: Tensor, y: Tensor) -> None:
        """One gradient step. The last batch of a pass has a size of its own in each fit, and is not recorded."""
        if x.shape[1] == self.settings.model_batch_size:
            self._recorded(None, x, y)
        else:
            self._descend(x, y)

    def _descend(self, x: Tensor, y: Tensor) -> None:
        loss = self.network.loss(x, y)
        self._finite.note(LOSS, loss)
        for parameter, grad in zip(self._parameters, torch.autograd.grad(loss, self._parameters), strict=True):
            parameter.grad = grad
        self._optimizer.step()

    @torch.no_grad()
    def _held_out_mse(self, x: Tensor, y: Tensor) -> Float[Tensor, " members"]:
        return self.network.squared_error(x.expand(self.network.members, -1, -1), y)


def held_out_rows(count: int, share: float) -> Bool[Tensor, " count"]:
    """Which of `count` transitions, in the order in which they were collected, no fit trains on."""
    return (torch.arange(count, dtype=torch.float64) * GOLDEN_RATIO) % 1.0 < share


def _thinned(rows: Float[Tensor, "n width"], most: int) -> Float[Tensor, "thinned width"]:
    """At most `most` rows: the newest, and as many of the older ones, evenly spaced."""
    if len(rows) <= most:
        return rows
    older = torch.linspace(0, len(rows) - most // 2 - 1, most - most // 2, device=rows.device).long()
    return torch.cat([rows[older], rows[-(most // 2) :]])
