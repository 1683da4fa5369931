"""The motion as recorded, before and after the fit, and the values that were found."""

from pathlib import Path

import numpy as np

from diffmaac.identification.fit import Prediction
from diffmaac.identification.found import Identification
from diffmaac.identification.trajectory import Windows

SHOWN = 4
"""Coordinates that are drawn: those that the fit has changed most, in units of their noise."""


def draw(file: Path, cut: Windows, before: Prediction, after: Prediction, found: Identification) -> Path:
    """Writes the figure, and returns its file."""
    import matplotlib.pyplot as plt

    measured, old, new = (np.concatenate([x.qpos, x.qvel], axis=2) for x in (cut, before, after))
    change = np.abs(np.where(cut.counts[..., None], old - new, 0.0)).mean(axis=(0, 1)) / (new.std(axis=(0, 1)) + 1e-12)
    chosen = np.argsort(-change)[:SHOWN]
    figure, axes = plt.subplots(len(chosen) + 1, 1, figsize=(8, 1.6 * len(chosen) + 2.4), layout="constrained")
    nq = cut.qpos.shape[2]
    for axis, i in zip(axes, chosen, strict=False):
        for x, style in ((measured, "0.4"), (old, "C1"), (new, "C0")):
            lines = [np.where(cut.counts[n], x[n, :, i], np.nan) for n in range(len(x))]
            path = np.concatenate([np.append(line, np.nan) for line in lines])
            axis.plot(path, "." if style == "0.4" else "-", color=style, markersize=2, linewidth=1)
        axis.set_ylabel(f"qpos {i}" if i < nq else f"qvel {i - nq}")
    axes[0].legend(["recorded", "before", "after"], frameon=False, ncols=3, fontsize=8)
    axes[-2].set_xlabel("control steps, window after window")
    places = np.arange(len(found.names))
    finite = np.where(np.isfinite(found.standard_errors), found.standard_errors, 0.0)
    unit = np.where(found.values != 0, np.abs(found.values), 1.0)
    axes[-1].errorbar(places, found.values / unit, finite / unit, fmt="o", color="C0", capsize=3, label="found")
    axes[-1].plot(places, found.start / unit, "x", color="C1", label="start")
    axes[-1].set_xticks(places, found.names, rotation=20, fontsize=8)
    axes[-1].set_ylabel("relative to found")
    axes[-1].legend(frameon=False, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    plt.close(figure)
    return file
