"""The settings of the commands that compare runs."""

from dataclasses import dataclass
from pathlib import Path

from diffmaac.errors import SettingError
from diffmaac.experiments.scales import SCALES
from diffmaac.settings import fields_of, setting


@dataclass(frozen=True)
class PlotSettings:
    """Where the figure goes."""

    out: str = setting("comparison.png", "file of the figure", file=(".png", ".pdf", ".svg"))


@dataclass(frozen=True)
class EngineSettings:
    """What trains runs, and how many at a time."""

    jobs: int = setting(
        0, "runs trained at a time; 0: as many as there are cores, or with engine=ray as the cluster takes", 0, 10_000
    )
    engine: str = setting("local", "processes of this machine, or tasks of Ray", choices=("local", "ray"))
    address: str = setting(
        "", "engine=ray: the cluster, as host:port, ray://host:10001 or auto; empty: a Ray of this machine alone"
    )
    gpus: float = setting(1.0, "engine=ray: GPUs that a run on device=cuda or auto holds; 0.25: four share one", 0.0, 8)
    memory: float = setting(0.0, "engine=ray: memory that a run holds [GB]; 0: as much as there is", 0.0, 1e6)
    retries: int = setting(3, "engine=ray: how often a run is taken up again whose worker or node was lost", 0, 1000)
    storage: str = setting(
        "", "engine=ray: where runs are kept while they train, as s3://bucket/folder; empty: all nodes share out="
    )

    def check(self) -> None:
        """Raises SettingError for a word of a Ray cluster that no cluster would get."""
        for name in ("address", "storage") if self.engine == "local" else ():
            if given := getattr(self, name):
                raise SettingError(f"{name}={given} is for a Ray cluster. Say engine=ray as well.")


@dataclass(frozen=True)
class SweepSettings(EngineSettings):
    """Where the runs go, and whether settings are searched."""

    out: str = setting("", "directory of the runs; empty: runs/sweep-<digest of the grid>")
    search: str = setting("grid", "every combination, or what Optuna proposes", choices=("grid", "optuna"))
    trials: int = setting(50, "search=optuna: combinations that are tried", 1, 100_000)
    yes: bool = setting(False, "train more than 1,000 runs")

    @property
    def asked(self) -> tuple[str, ...]:
        """Words that say how a sweep is made, not what of."""
        return (*fields_of(EngineSettings), "out", "yes")


@dataclass(frozen=True)
class RunsSettings:
    """How the list is ordered."""

    sort: str = setting("name", "by what; return: the best first", choices=("name", "return", "step", "state", "time"))


@dataclass(frozen=True)
class ReproduceSettings(EngineSettings):
    """How large, of which tasks, and where."""

    scale: str = setting(
        "quick", "smoke: a minute; quick: hours to days on two cores; full: the paper's", choices=tuple(SCALES)
    )
    envs: list[str] = setting([], "tasks, separated by commas; empty: those of the scale")
    variants: list[str] = setting([], "curves, separated by commas, for example maac,sac; empty: all")
    seeds: int = setting(0, "runs of each curve; 0: as many as the scale has", 0, 10_000)
    steps: int = setting(0, "environment steps of a run; 0: as many as the scale has", 0, 10**9)
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
