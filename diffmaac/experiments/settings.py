"""The settings of the commands that compare runs."""

from dataclasses import dataclass
from pathlib import Path

from diffmaac.experiments.scales import SCALES
from diffmaac.settings import setting


@dataclass(frozen=True)
class PlotSettings:
    """Where the figure goes."""

    out: str = setting("comparison.png", "file of the figure", file=(".png", ".pdf", ".svg"))


@dataclass(frozen=True)
class ReproduceSettings:
    """How large, of which tasks, and where."""

    scale: str = setting(
        "quick", "smoke: a minute; quick: hours to days on two cores; full: the paper's", choices=tuple(SCALES)
    )
    envs: list[str] = setting([], "tasks, separated by commas; empty: those of the scale")
    variants: list[str] = setting([], "curves, separated by commas, for example maac,sac; empty: all")
    seeds: int = setting(0, "runs of each curve; 0: as many as the scale has", 0, 10_000)
    steps: int = setting(0, "environment steps of a run; 0: as many as the scale has", 0, 10**9)
    jobs: int = setting(0, "runs trained at a time, on one thread each; 0: as many as there are cores", 0, 1024)
    hours: float = setting(0.0, "wall time that training may take, by a first estimate; 0: no bound", 0.0)
    runs: str = setting("", "directory of the runs; empty: runs/reproduce/<scale>")
    out: str = setting("", "directory of figures and tables; empty: that of the runs")
    train: bool = setting(True, "train what is missing; false: use the runs at hand as they are")

    @property
    def runs_folder(self) -> Path:
        return Path(self.runs or f"runs/reproduce/{self.scale}")

    @property
    def out_folder(self) -> Path:
        return Path(self.out or self.runs_folder)
