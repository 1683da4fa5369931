"""The algorithms, as rows of one table: what each fixes among the settings. Equal columns give equal losses."""

from collections.abc import Mapping
from typing import Any

ALGORITHMS: dict[str, Mapping[str, Any]] = {
    "maac": {"actor_objective": "pathwise"},
    "mbpo": {"actor_objective": "pathwise", "horizon": 0, "critic_target": "td", "data": "mixed"},
    "sac": {"actor_objective": "pathwise", "horizon": 0, "critic_target": "td", "data": "real"},
    "steve": {"actor_objective": "pathwise", "horizon": 0, "critic_target": "steve", "data": "real"},
    "svg": {"actor_objective": "svg", "horizon": 0, "critic_target": "td", "data": "real"},
}
"""What tells the algorithms apart:

- SAC (Haarnoja et al. 2018): real data, soft TD, pathwise with H = 0; no dynamics.
- MBPO (Janner et al. 2019): SAC on imagined data, with few real ones.
- STEVE (Buckman et al. 2018): SAC with targets of several model steps, of an ensemble of critics.
- SVG(1) (Heess et al. 2015): SAC whose policy learns through one model step at the replayed transitions.
- MAAC (Clavera et al. 2020): real and imagined data, STEVE's targets, pathwise H.
"""
DEFAULTS: dict[str, Mapping[str, Any]] = {"steve": {"critics": 4}}
"""What an algorithm changes in the settings without fixing it."""


def differentiates(settings: Mapping[str, Any]) -> bool:
    """Whether the policy's objective takes a gradient through dynamics under settings with these values."""
    return settings.get("horizon") != 0 or settings.get("actor_objective") == "svg"


def uses_dynamics(settings: Mapping[str, Any]) -> bool:
    """Whether settings with these values need any dynamics: for data, for targets or for the gradient."""
    return any(settings.get(name) != value for name, value in ALGORITHMS["sac"].items())
