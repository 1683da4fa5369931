"""The algorithms, as rows of one table: what each fixes among the settings. Equal columns give equal losses."""

from collections.abc import Mapping
from typing import Any

ALGORITHMS: dict[str, Mapping[str, Any]] = {
    "sac": {"horizon": 0, "critic_target": "td", "data": "real"},
    "maac": {},
}
"""SAC: real data, soft TD, pathwise H = 0, no dynamics. MAAC: real and imagined data, STEVE, pathwise H."""


def uses_dynamics(settings: Mapping[str, Any]) -> bool:
    """Whether settings with these values need any dynamics: for data, for targets or for the gradient."""
    return any(settings.get(name) != value for name, value in ALGORITHMS["sac"].items())
