"""What holds for every test: no window, one thread for torch (two collapse on a busy machine), checked shapes."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Compiled programs, shared by the workers and the processes that tests start, apart from those of trainings; the small
# ones too, which JAX would compile again each time.
CACHES = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PROGRAMS = Path(os.environ.setdefault("DIFFMAAC_CACHE", str(CACHES / "diffmaac-tests")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

# JAX makes objects by the million when it traces physics. Looking through them for circles after each 700 takes a third
# of that time.
gc.set_threshold(100_000)

import numpy as np
import pytest
from jaxtyping import install_import_hook

# `is_pep484_tower`: an int is a float, as PEP 484 has it and pyright takes it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(["diffmaac", "diffmaac_envs"], CHECKER)

# After the hook, so that their shapes are checked, too.
from support.engine import fast_compiler_options
from support.loop import ACTION, OBS, generator
from support.runs import tiny

from diffmaac import physics
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, LinearDynamics
from diffmaac.nn import Critics, SquashedGaussianPolicy
from diffmaac.system import LinearSystem

LONGEST = (
    "test_physics",
    "test_reproduce",
    "test_odd_settings",
    "test_supported",
    "test_contact",
    "test_gradient_check",
    "test_model_error",
    "test_docs",
    "test_examples",
    "test_training",
)
"""The files that take longest, in this order."""
MINUTES = {(True, True): "8", (True, False): "5", (False, True): "12", (False, False): "9"}
"""How long all short tests take on two cores of 2026: (several processes, nothing compiled yet) -> minutes."""


def pytest_report_header(config: pytest.Config) -> list[str]:
    """How long it will take, where all short tests are to run."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.keyword
    if not whole or config.option.markexpr != "not slow":
        return []
    cold = not any(PROGRAMS.glob("*-cache"))
    minutes = MINUTES[bool(getattr(config.option, "numprocesses", 0)), cold]
    why = f", as programs for the physics are still to be compiled into {PROGRAMS}" if cold else ""
    return [f"This takes about {minutes} minutes on two cores{why}."]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, lest one worker has one left when the other is done."""
    if hasattr(config, "workerinput"):
        order = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def compile_fast() -> Iterator[None]:
    """XLA optimises little where a program runs once: it compiles in less than half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physics, "compiler_options", fast_compiler_options)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, to be looked at only."""
    return tiny(tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture(scope="session")
def _begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("runs") / "begun", steps=80)


@pytest.fixture
def begun(_begun: Path, tmp_path: Path) -> Path:
    """A tiny run after two of its three epochs, a copy of one's own."""
    return Path(shutil.copytree(_begun, tmp_path / "run"))


@pytest.fixture(scope="session")
def swung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run on the pendulum with five members, to be looked at only."""
    return tiny(tmp_path_factory.mktemp("runs") / "swung", env="pendulum", members=5, final_episodes=2)


@pytest.fixture
def policy() -> SquashedGaussianPolicy:
    return SquashedGaussianPolicy(OBS, ACTION, [16], generator()).double()


@pytest.fixture
def critics() -> Critics:
    return Critics(OBS, ACTION, [16], generator(1)).double()


@pytest.fixture
def linear() -> LinearDynamics:
    return LinearDynamics(LinearSystem(np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]]), 0.1))


@pytest.fixture
def ensemble() -> LearnedDynamics:
    return LearnedDynamics(GaussianEnsemble(OBS, ACTION, 3, [16], generator(2)).double())
