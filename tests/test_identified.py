"""From identification to training: other parameters, draws from the posterior, ensembles of true dynamics."""

import dataclasses
import json
import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from support.loop import generator
from support.runs import TINY, numbers, refused

import diffmaac
from diffmaac import DiffmaacError, Identification, LinearSystem, MujocoSystem, TaskError, get_task
from diffmaac.dynamics import LinearDynamics, TrueEnsemble, identified_dynamics
from diffmaac.runs.metrics import read_metrics
from diffmaac.training.trainer import Trainer

SLIDE = """<mujoco><option gravity="0 0 0"/><worldbody><body name="a">
  <joint name="x" type="slide" axis="1 0 0"/><inertial pos="0 0 0" mass="{}" diaginertia="1 1 1"/>
  <body name="b"><joint name="y" type="slide" axis="0 1 0"/><inertial pos="0 0 0" mass="{}" diaginertia="1 1 1"/></body>
  </body></worldbody><actuator><motor joint="x" ctrlrange="-1 1"/></actuator></mujoco>"""
NAMES = ("body_mass[pole]", "dof_damping[hinge]")


def pendulum() -> mujoco.MjModel:
    system = get_task("pendulum").system
    assert isinstance(system, MujocoSystem)
    return system.model


def found(spread: float = 0.1, correlation: float = 0.0) -> Identification:
    """Of the pendulum's mass and damping."""
    size = spread * np.array([1.0, 0.1])
    covariance = np.outer(size, size) * np.array([[1, correlation], [correlation, 1]])
    values = np.array([1.1, 0.12])
    bounds = np.zeros(2), np.array([np.inf, 0.2])
    return Identification(NAMES, values / 1.3, values, covariance, *bounds, np.ones(2), 3, pendulum())


class TestSystem:
    def test_a_force_moves_half_the_mass_twice_as_much(self) -> None:
        """v = h F / (m_a + m_b), and the masses derived are those that the compiler gives."""
        system = MujocoSystem.from_xml(SLIDE.format(1, 2), frame_skip=1)
        other = system.with_parameters({"body_mass": torch.tensor([0.0, 0.5, 1.0])})
        speeds = []
        for each in (system, other):
            simulator = each.simulator()
            simulator.step(np.ones(1))
            speeds.append(simulator.state()[1][0])
        np.testing.assert_allclose(speeds, [0.002 / 3, 0.002 / 1.5], rtol=1e-12)
        compiled = mujoco.MjModel.from_xml_string(SLIDE.format(0.5, 1))
        for name in ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
            np.testing.assert_allclose(getattr(other.model, name), getattr(compiled, name), rtol=1e-12)
        assert system.model.body_mass[1] == 1 and other.frame_skip == 1

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"body_mass": [0, 1]}, r"body_mass has the shape \(2,\); this model's has \(3,\)"),
            ({"body_mass": [0, 1, -1]}, r"body_mass\[2\] is -1; allowed is a finite number of at least 0"),
            ({"body_mas": [0, 1, 1]}, "unknown parameter 'body_mas'. Did you mean 'body_mass'"),
            ({"dof_invweight0": [1, 1]}, "MuJoCo computes it from others"),
        ],
    )
    def test_what_cannot_be_is_refused(self, parameters, message: str) -> None:
        with pytest.raises(DiffmaacError, match=message):
            MujocoSystem.from_xml(SLIDE.format(1, 2), frame_skip=1).with_parameters(parameters)


class TestDraws:
    def test_they_have_the_mean_and_the_covariance(self) -> None:
        """4,000 draws: correlations err by 0.016, standard deviations by 1.1 %; four times as much is allowed."""
        sets = found(0.05, correlation=-0.8).draw(4000, seed=1)
        drawn = np.array([[s["body_mass"][1], s["dof_damping"][0]] for s in sets])
        np.testing.assert_allclose(drawn.mean(0), [1.1, 0.12], atol=4 * 0.05 / 4000**0.5)
        np.testing.assert_allclose(drawn.std(0), [0.05, 0.005], rtol=0.045)
        assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(-0.8, abs=0.064)

    def test_they_stay_within_the_bounds(self) -> None:
        """Of a Gaussian far wider than the bounds draws are uniform between them."""
        drawn = np.array([s["dof_damping"][0] for s in found(20.0).draw(1000)])
        assert 0 <= drawn.min() < 0.01 and 0.19 < drawn.max() <= 0.2
        assert drawn.mean() == pytest.approx(0.1, abs=4 * 0.2 / 12**0.5 / 1000**0.5)

    def test_a_seed_determines_them(self) -> None:
        one, same, other = (found().draw(2, seed)[1]["body_mass"] for seed in (0, 0, 1))
        assert np.array_equal(one, same) and not np.array_equal(one, other)

    def test_what_is_not_determined_keeps_its_value(self) -> None:
        covariance = np.diag([np.inf, 1e-4])
        drawn = dataclasses.replace(found(), covariance=covariance).draw(3)
        assert {s["body_mass"][1] for s in drawn} == {1.1}
        assert len({s["dof_damping"][0] for s in drawn}) == 3

    def test_bounds_that_hold_nearly_nothing_are_refused(self) -> None:
        narrow = dataclasses.replace(found(), low=np.array([1.1, 0.12]), high=np.array([1.1 + 1e-9, 0.2]))
        with pytest.raises(DiffmaacError, match="lie within the bounds, and 2 are wanted"):
            narrow.draw(2)
        with pytest.raises(DiffmaacError, match="count=0"):
            narrow.draw(0)


class TestFile:
    def test_it_is_read_back(self, tmp_path: Path) -> None:
        saved = dataclasses.replace(found(), covariance=np.diag([np.inf, 1e-4]))
        saved.save(tmp_path / "found.json")
        back = Identification.load(tmp_path / "found.json", pendulum())
        for name in ("names", "start", "values", "covariance", "low", "high", "noise", "iterations"):
            np.testing.assert_array_equal(getattr(back, name), getattr(saved, name))
        assert back.model.body_mass[1] == 1.1 and back.parameters["dof_damping"][0] == 0.12

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"numbers": []}, "there is no value"),
            ({"covariance": [[1, 0]]}, "covariance has the shape"),
            ({"covariance": [[1, 2], [2, 1]]}, "negative eigenvalue"),
            ({"noise": "x"}, "is no number"),
            ({"iterations": None}, "TypeError"),
            ({"format": 1}, "its format is not"),
            ({"numbers": [{"name": "body_mass[pole]", "start": 1, "value": "1", "low": 0, "high": 2}]}, "no number"),
        ],
    )
    def test_a_damaged_one_is_refused(self, change, message: str, tmp_path: Path) -> None:
        file = tmp_path / "found.json"
        found().save(file)
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(DiffmaacError, match=message):
            Identification.load(file, pendulum())

    def test_another_model_is_refused(self, tmp_path: Path) -> None:
        found().save(tmp_path / "found.json")
        with pytest.raises(DiffmaacError, match="unknown body in body_mass 'pole'"):
            Identification.load(tmp_path / "found.json", mujoco.MjModel.from_xml_string(SLIDE.format(1, 1)))
        with pytest.raises(DiffmaacError, match="cannot be read: No such file"):
            Identification.load(tmp_path / "no.json", mujoco.MjModel.from_xml_string(SLIDE.format(1, 1)))
        with pytest.raises(DiffmaacError, match="is no file"):
            Identification.load(tmp_path, mujoco.MjModel.from_xml_string(SLIDE.format(1, 1)))


class TestEnsemble:
    def test_each_sample_moves_as_its_member_says(self) -> None:
        """Of linear systems A s + B_m a, B_m = (m + 1) B: the change is m + 1 times that of the first."""
        system = get_task("double_integrator").system
        assert isinstance(system, LinearSystem)
        members = [LinearDynamics(dataclasses.replace(system, B=(m + 1) * system.B)) for m in range(3)]
        ensemble = TrueEnsemble(members, 2)
        obs, action = torch.zeros(8, 2).double(), torch.ones(8, 1, dtype=torch.float64, requires_grad=True)
        noise = ensemble.sample_noise(8, generator(), torch.float64)
        after = ensemble.step(obs, action, noise)
        expected = (noise.member + 1)[:, None] * torch.from_numpy(system.B[:, 0])
        torch.testing.assert_close(after, expected, rtol=1e-14, atol=0)
        slopes = torch.autograd.grad(after[:, 1].sum(), action)[0][:, 0]
        torch.testing.assert_close(slopes, expected[:, 1], rtol=1e-14, atol=0)
        assert sorted(torch.bincount(noise.member).tolist()) == [2, 3, 3]
        each = ensemble.step_members(obs.expand(3, -1, -1), action.expand(3, -1, -1), None)
        torch.testing.assert_close(each[noise.member, torch.arange(8)], after, rtol=1e-14, atol=0)

    def test_what_cannot_be_is_refused(self) -> None:
        system = get_task("double_integrator").system
        assert isinstance(system, LinearSystem)
        with pytest.raises(ValueError, match="0 members"):
            TrueEnsemble([], 2)
        with pytest.raises(ValueError, match="each deterministic"):
            TrueEnsemble([LinearDynamics(system, np.ones(2))], 2)
        with pytest.raises(ValueError, match="sample_noise"):
            TrueEnsemble([LinearDynamics(system)], 2).step(torch.zeros(1, 2), torch.zeros(1, 1), None)
        with pytest.raises(TaskError, match="no MuJoCo model"):
            identified_dynamics(system, [{}])
        with pytest.raises(TaskError, match="actuator_ctrlrange"):
            identified_dynamics(get_task("pendulum").system, [{"actuator_ctrlrange": np.ones((1, 2))}])

    def test_one_set_is_the_system_with_these_parameters(self) -> None:
        task = get_task("pendulum")
        system = task.system.physics()
        assert isinstance(system, MujocoSystem)
        parameters = found().parameters
        simulator = system.with_parameters(parameters).simulator()
        simulator.set_state(np.array([2.0]), np.array([0.25]))
        simulator.step(np.array([0.5]))
        obs = task.observe(torch.tensor([[2.0]]).double(), torch.tensor([[0.25]]).double())
        after = identified_dynamics(system, [parameters]).step(obs, torch.tensor([[0.5]]).double(), None)
        expected = task.observe(*(torch.from_numpy(x)[None] for x in simulator.state()))
        torch.testing.assert_close(after, expected, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run through an ensemble of identified pendulums, with all that looks at an ensemble's disagreement."""
    folder = tmp_path_factory.mktemp("identified")
    found(0.2).save(folder / "found.json")
    words = {**TINY, "env": "pendulum", "dynamics": "true", "identified": str(folder / "found.json"), "steps": 80}
    words |= {"horizon": "auto", "auto_horizons": [0, 2], "steve_horizon": 1}
    return diffmaac.train(**words, out=str(folder / "run"), progress=False).path


class TestTraining:
    def test_steve_and_the_horizon_see_the_disagreement(self, run: Path) -> None:
        last = read_metrics(run / "metrics.csv")[-1]
        assert 0 < float(last["steve_weight_1"]) < 1
        assert float(last["gradient_error_2"]) > 0 and float(last["horizon"]) in (0, 2)
        dynamics = Trainer.load(run).dynamics
        assert isinstance(dynamics, TrueEnsemble) and dynamics.members == TINY["members"]

    def test_the_task_stays_the_right_world(self, run: Path) -> None:
        system = diffmaac.load(run).task.system
        assert isinstance(system, MujocoSystem) and system.model.body_mass[1] == 1.0

    def test_a_planner_looks_ahead_in_it(self, run: Path) -> None:
        result = diffmaac.evaluate(run, planner="cem", episodes=1, candidates=4, plan_horizon=2, iterations=1)
        assert result.value.planning is not None and result.value.planning.diverged == 0

    def test_it_is_taken_up_again_without_the_file(self, run: Path, tmp_path: Path) -> None:
        """From its own copy; the members are the same, so that the numbers are those of one long run."""
        parts = []
        for name in ("one", "two"):
            copy = Path(shutil.copytree(run, tmp_path / name))
            parts.append(diffmaac.train(resume=str(copy), steps=100, progress=False).path)
        assert numbers(parts[0]) == numbers(parts[1])
        (parts[0] / "identification.json").unlink()
        with pytest.raises(DiffmaacError, match=r"identification.json' cannot be read"):
            Trainer.load(parts[0])

    def test_a_file_that_is_none_is_refused_in_one_line(self, tmp_path: Path, capsys) -> None:
        words = ("train", "env=pendulum", "dynamics=true", f"out={tmp_path / 'run'}")
        assert "cannot be read" in refused(*words, f"identified={tmp_path / 'no.json'}", capsys=capsys)
        (tmp_path / "x.json").write_text("[]")
        assert "is no identification" in refused(*words, f"identified={tmp_path / 'x.json'}", capsys=capsys)
        assert "no MuJoCo model" in refused(
            "train", "env=double_integrator", "dynamics=true", f"identified={tmp_path / 'x.json'}", capsys=capsys
        )
        assert not (tmp_path / "run").exists()
