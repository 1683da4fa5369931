"""Optimisers."""

from typing import Any

import torch


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads `state`, its moments and step counts, but keeps the options (lr, weight_decay) that `optimizer` has.

    torch's own `load_state_dict` takes the options of the stored optimiser, without a word where they differ.
    """
    options = [{name: x for name, x in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)
