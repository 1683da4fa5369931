"""Optimisers."""

from typing import Any

import torch


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], **options: float) -> None:
    """Loads `state`, its moments and step counts, but keeps `options` (lr, weight_decay) as they are given here.

    torch's own `load_state_dict` takes the options of the stored optimiser, without a word where they differ.
    """
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group.update(options)
