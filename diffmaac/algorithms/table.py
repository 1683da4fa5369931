"""The algorithms, as rows of one table: what each fixes among the settings. Equal columns give equal losses."""

from collections.abc import Mapping
from typing import Any

ALGORITHMS: dict[str, Mapping[str, Any]] = {
    "sac": {"horizon": 0, "critic_target": "td", "data": "real"},
    "maac": {},
}
"""SAC: real data, soft TD, pathwise H = 0, no dynamics. MAAC: real and imagined data, STEVE, pathwise H."""
