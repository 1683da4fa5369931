"""Settings of all commands with odd values: a command runs, or refuses in one line and leaves nothing behind."""

import dataclasses
import math
import random
import shutil
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.odd import FUZZ, LONGEST, Ending, Tally, call, few
from support.odd_values import every, kind_of, odd

import diffmaac
from diffmaac.analysis.settings import (
    OF_A_TASK,
    CheckSettings,
    EvaluateSettings,
    GradientErrorSettings,
    ModelErrorSettings,
    PageSettings,
)
from diffmaac.errors import DiffmaacError
from diffmaac.experiments.settings import PlotSettings, ReproduceSettings
from diffmaac.settings import FIELDS, about, convert, fields_of, flatten, parse_words
from diffmaac.tasks import resolve_task

SMALL: dict[str, Any] = {
    **{"env": "double_integrator", "steps": 13, "epoch_steps": 13, "random_steps": 10, "batch_size": 4},
    **{"updates_per_step": 1, "hidden": [4], "horizon": 1, "members": 2, "model_hidden": [4], "model_epochs": 1},
    **{"imagined_states": 10, "eval_episodes": 1, "final_episodes": 1, "log": "csv"},
}
"""A run of three steps that learn, in a third of a second."""
PENDULUM = """<mujoco><worldbody><body><joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
  <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1"/></body></worldbody>
  <actuator><motor joint="hinge" ctrlrange="-1 1"/></actuator></mujoco>"""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command's settings, and the words with which it takes little time; RUN is the tiny run."""

    fields: Mapping[str, dataclasses.Field[Any]]
    usual: Mapping[str, Any]
    start: tuple[str, ...]


SHORT = {"episodes": 1, "copies": 1, "episode_steps": 1}
ERROR = fields_of(GradientErrorSettings)
COMMANDS = {
    "train": Command(FIELDS, SMALL, ("train",)),
    "config": Command(FIELDS, SMALL, ("train", "config=s.yaml")),
    "resume": Command(FIELDS, {"steps": 14}, ("train", "resume=RUN")),
    "evaluate": Command(
        fields_of(EvaluateSettings),
        {"planner": "cem", "episodes": 1, "candidates": 2, "iterations": 1, "plan_horizon": 1},
        ("evaluate", "RUN"),
    ),
    "plot": Command(fields_of(PlotSettings), {}, ("plot", "RUN")),
    "report": Command(fields_of(PageSettings), {}, ("report", "RUN")),
    "model-error": Command(
        fields_of(ModelErrorSettings),
        {"states": 2, "steps": 1, "episodes": 1, "copies": 1, "episode_steps": 1},
        ("model-error", "RUN"),
    ),
    "gradient-error RUN": Command(
        {name: f for name, f in ERROR.items() if name not in OF_A_TASK},
        {"horizons": "0,1", "samples": 2, "chunk": 2},
        ("gradient-error", "RUN"),
    ),
    "gradient-error": Command(
        {name: ERROR[name] for name in ("env", *OF_A_TASK)},
        {"env": "double_integrator", "horizons": 0, "seeds": 1, "transitions": 100},
        ("gradient-error",),
    ),
    "check-gradients": Command(
        fields_of(CheckSettings),
        {"model": "pendulum.xml", "gradient": "finite_difference", "states": 2},
        ("check-gradients",),
    ),
    "reproduce": Command(
        {name: f for name, f in fields_of(ReproduceSettings).items() if name != "train"},  # which would train
        {"scale": "smoke", "train": False, "runs": "runs"},
        ("reproduce", "figure2"),
    ),
}
ALL = [(name, setting) for name, command in COMMANDS.items() for setting in command.fields]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run."""
    return diffmaac.train(**SMALL, out=str(tmp_path_factory.mktemp("odd") / "run"), progress=False).path


def words_of(name: str, setting: str, value: str) -> list[str]:
    """The command `name` with one odd value in place of, or beside, the usual ones; in a file for config=."""
    command = COMMANDS[name]
    usual = {key: x for key, x in command.usual.items() if key != setting}
    words = [f"{key}={str(x).replace(' ', '')}" for key, x in usual.items()]
    return [*command.start, *words, *(() if name == "config" else (f"{setting}={value}",))]


def attempt(name: str, setting: str, value: str, origin: Path, folder: Path) -> Ending:
    """Calls the command in a folder that holds a copy of the run, a model, and the settings file for config=."""
    inner = folder / "a" / "b"  # of what is written to '..', too, one wants to know
    shutil.rmtree(folder / "a", ignore_errors=True)
    shutil.copytree(origin, inner / "RUN")
    (inner / "pendulum.xml").write_text(PENDULUM)
    (inner / "runs").mkdir()
    (inner / "s.yaml").write_text(f"{setting}: {value}\n", encoding="utf-8", errors="surrogateescape")
    return call(words_of(name, setting, value), inner)


CASES = st.sampled_from(ALL).flatmap(lambda both: st.tuples(st.just(both), odd(COMMANDS[both[0]].fields[both[1]])))


def test_every_odd_value_is_converted_or_refused() -> None:
    """All values of all settings, of those with equal metadata one: conversion alone, which is cheap."""
    known = ("low", "high", "choices", "words", "length", "fewest", "file")
    kinds = {
        (str(f.type), *(str(getattr(about(f), name)) for name in known)): f
        for command in COMMANDS.values()
        for f in command.fields.values()
    }
    wrong: dict[str, list[str]] = {}
    for f in kinds.values():
        for value, refused in every(f):
            try:
                converted = convert(parse_words([f"{f.name}={value}"]), {f.name: f})[f.name]
                outcome = "taken" if refused else ""
            except DiffmaacError as error:
                converted, outcome = None, "long" if len(str(error)) > LONGEST else ""
            except Exception as error:
                converted, outcome = None, type(error).__name__
            if outcome:
                wrong.setdefault(outcome, []).append(f"{f.name}={value[:40]!a} {converted or ''}")
    assert not wrong, "\n".join(f"{kind}: {len(cases)}\n  " + "\n  ".join(cases) for kind, cases in wrong.items())


def test_a_command_runs_or_refuses_in_one_line(origin: Path, tmp_path: Path) -> None:
    tally = Tally()

    @few(80)
    @given(CASES)
    def one(case: tuple[tuple[str, str], tuple[str, bool]]) -> None:
        (name, setting), (value, refused) = case
        tally.add(attempt(name, setting, value, origin, tmp_path), refused, f"({name}, {setting})")

    one()
    tally.check()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_many_odd_values_of_every_command(name: str, origin: Path, tmp_path: Path) -> None:
    tally = Tally()
    cases = [(setting, *case) for setting, f in COMMANDS[name].fields.items() for case in every(f)]
    for setting, value, refused in random.Random(FUZZ).sample(cases, min(len(cases), FUZZ or 1000)):
        tally.add(attempt(name, setting, value, origin, tmp_path), refused, f"({name}, {setting})")
    tally.check()


OBJECTS = (
    *(None, [], {}, (), set(), object(), len, int, b"x", "", "x", "nan", "true", 1j, 10**400, -(10**400), math.nan),
    *(math.inf, -0.0, 1e300, True, False, [None], [[1]], [True], ["x"], {"a": 1}, {1: {}}, (1, 2), range(3), iter([1])),
    *(Fraction(1, 2), Decimal("NaN"), datetime.now(), Path("x"), np.int64(3), np.float32("nan"), np.bool_(True)),
    *(
        np.arange(3),
        np.zeros((0,)),
        np.array(2),
        np.array("x"),
        torch.ones(2),
        torch.tensor(1),
        "${seed}",
        "\ud800",
        "\0",
    ),
)


@few(300)
@given(st.sampled_from([*FIELDS, "no_such_setting", "", "1"]), st.sampled_from(OBJECTS))
def test_a_value_of_any_type_is_taken_or_refused(name: str, value: object) -> None:
    """In Python: what `train` would be given, as far as the settings."""
    try:
        _, settings = resolve_task("double_integrator", {name: value})
    except DiffmaacError as error:
        assert len(str(error)) < 2000
    else:
        resolved = flatten(settings)[name]
        assert type(resolved) is kind_of(FIELDS[name]) or resolved in about(FIELDS[name]).words
        assert all(type(item) is int for item in resolved) if isinstance(resolved, list) else True


def test_every_count_has_bounds() -> None:
    """Without an upper bound there is a count with which a command does not end."""
    counts = {f"{name} {setting}": COMMANDS[name].fields[setting] for name, setting in ALL}
    counts = {setting: about(f) for setting, f in counts.items() if "int" in str(f.type)}
    assert not [setting for setting, known in counts.items() if None in (known.low, known.high)]
