"""Aggregates of a few runs: interquartile means and bootstrap intervals (Agarwal et al. 2021, arXiv 2108.13264)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

RESAMPLES = 2000
TRIMMED = 0.25
"""Share of the runs that is left out at each end."""
LEVEL = 0.95


def at_common_steps(runs: Sequence[Sequence[Mapping[str, str]]], *names: str) -> tuple[np.ndarray, ...]:
    """The steps that all `runs` (rows of their metrics.csv) have, and the columns `names` there, each (runs, steps)."""
    by_step = [{int(row["step"]): row for row in rows} for rows in runs]
    steps = sorted(set.intersection(*map(set, by_step)))
    columns = (np.array([[float(rows[step][name]) for step in steps] for rows in by_step]) for name in names)
    return np.array(steps), *columns


def interquartile_mean(scores: Float[np.ndarray, "runs *rest"]) -> Float[np.ndarray, "*rest"]:
    """The mean of the runs without the best and the worst quarter, rounded down: of up to three it is their mean."""
    return np.asarray(trim_mean(scores, TRIMMED, axis=0))


def bootstrap_interval(
    groups: Sequence[Float[np.ndarray, "runs *rest"]], seed: int = 0
) -> tuple[Float[np.ndarray, "*rest"], Float[np.ndarray, "*rest"]]:
    """The 95 % interval of the interquartile mean over all runs of all groups, by the percentile bootstrap.

    Stratified: in every resample each group (a task) keeps its number of runs. Of a single run it is the run itself.
    """
    rng = np.random.default_rng(seed)
    drawn = [group[rng.integers(len(group), size=(RESAMPLES, len(group)))] for group in groups]
    resampled = trim_mean(np.concatenate(drawn, axis=1), TRIMMED, axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
