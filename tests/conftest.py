"""What holds for every test: no window, one thread for torch (two collapse on a busy machine), checked shapes."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from jaxtyping import install_import_hook

# `is_pep484_tower`: an int is a float, as PEP 484 has it and pyright takes it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(["diffmaac", "diffmaac_envs"], CHECKER)

# After the hook, so that their shapes are checked, too.
from support.loop import ACTION, OBS, generator
from support.runs import tiny

from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, LinearDynamics
from diffmaac.nn import Critics, SquashedGaussianPolicy
from diffmaac.system import LinearSystem


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, to be looked at only."""
    return tiny(tmp_path_factory.mktemp("runs") / "finished")


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
