"""The best policy of a run: which one is kept, how it is loaded, and where both are shown."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.runs import numbers, refused, run, tiny

import diffmaac
from diffmaac import CheckpointError, SettingError
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.runs.layout import BEST, CHECKPOINT
from diffmaac.training.best import keep_if_best
from diffmaac.training.evaluation import Evaluation


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run whose evaluations are long enough to choose by, to be looked at only."""
    return tiny(tmp_path_factory.mktemp("runs") / "chosen", eval_episodes=5, final_episodes=2)


def offered(folder: Path, policy: SquashedGaussianPolicy, step: int, *returns: float) -> bool:
    task = diffmaac.get_task("double_integrator")
    return keep_if_best(folder, task, policy, step, Evaluation(list(returns), [], None))


def test_the_lower_quartile_decides(tmp_path: Path, policy: SquashedGaussianPolicy) -> None:
    assert offered(tmp_path, policy, 1, 10.0, 10.0, 10.0, 10.0, 10.0)
    assert not offered(tmp_path, policy, 2, 0.0, 0.0, 100.0, 100.0, 100.0), "a higher mean, but it falls in two of five"
    assert not offered(tmp_path, policy, 3, 10.0, 10.0, 10.0, 10.0, 10.0), "as good as the first, which came before"
    assert offered(tmp_path, policy, 4, 0.0, 11.0, 11.0, 11.0, 11.0)


def test_fewer_than_five_episodes_choose_none(tmp_path: Path, policy: SquashedGaussianPolicy) -> None:
    assert not offered(tmp_path, policy, 1, 10.0, 10.0, 10.0, 10.0)
    assert not (tmp_path / BEST).exists()


def test_a_damaged_one_is_replaced_and_that_is_said(
    tmp_path: Path, policy: SquashedGaussianPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    offered(tmp_path, policy, 1, *[10.0] * 5)
    (tmp_path / BEST / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert offered(tmp_path, policy, 2, *[0.0] * 5)
    assert "the best policy so far is lost" in caplog.text


def test_it_is_the_policy_of_the_best_evaluation(chosen: Path) -> None:
    rows = numbers(chosen)
    best = max(rows, key=lambda row: float(row["return_q1"]))
    agent = diffmaac.load(chosen, which="best")
    assert agent.step == int(best["step"])
    again = agent.evaluate(5)
    np.testing.assert_allclose(again.metrics()["return"], float(best["return"]), rtol=1e-6)
    np.testing.assert_allclose(again.quartiles, [float(best[f"return_{q}"]) for q in ("q1", "median", "q3")], rtol=1e-6)


def test_a_run_that_goes_on_keeps_the_best_of_before(chosen: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(chosen, tmp_path / "run"))
    policy = diffmaac.load(folder).policy
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
    offered(folder, policy, 120, *[1e6] * 5)
    trained = diffmaac.train(resume=str(folder), steps=160, progress=False)
    assert trained.best is not None and trained.best.agent.step == 120 and trained.agent.step == 160
    assert not trained.best.agent.act(np.ones(2)).any()


def test_both_are_evaluated_after_training_from_different_states(chosen: Path) -> None:
    record = json.loads((chosen / "evaluation.json").read_text())
    assert record["step"] == 120 and record["best"]["step"] == diffmaac.load(chosen, which="best").step
    assert len(record["returns"]) == len(record["best"]["returns"]) == 2
    assert set(record["returns"]).isdisjoint(record["best"]["returns"])


def test_evaluate_and_report_say_which(chosen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = diffmaac.load(chosen, which="best").step
    code, out, _ = run("evaluate", str(chosen), "which=best", "episodes=2", capsys=capsys)
    assert code == 0 and f"environment step {step}" in out
    page = diffmaac.report(chosen, out=str(tmp_path / "page.html")).value.read_text()
    assert f"return, best policy, of step {step}" in page and "return, evaluation after training, at step 120" in page


def test_without_one(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tiny runs are evaluated over one episode."""
    with pytest.raises(CheckpointError, match=r"its evaluations had 1 episodes, and at least 5 choose one"):
        diffmaac.load(begun, which="best")
    assert "has no best policy" in refused("evaluate", str(begun), "which=best", capsys=capsys)


def test_bad_input_is_one_line(chosen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match=r"unknown which 'bset'. Did you mean 'best'"):
        diffmaac.load(chosen, which="bset")
    assert "only the last checkpoint has" in refused(
        "evaluate", str(chosen), "which=best", "planner=cem", capsys=capsys
    )
    assert (chosen / CHECKPOINT).is_dir()


def test_an_averaged_policy_is_evaluated_and_kept(tmp_path: Path) -> None:
    """With rate tau the mean moves by tau of the way to the policy in each update: at 1e-6 it stays where it began."""
    still = tiny(tmp_path / "still", eval_episodes=5, policy_tau=1e-6)
    rows = numbers(still)
    first, *_, last = (float(row["return"]) for row in rows)
    assert last == pytest.approx(first, rel=1e-3), "what is evaluated hardly moves"
    moved = numbers(tiny(tmp_path / "moved", eval_episodes=5))
    assert moved[-1]["actor_loss"] == rows[-1]["actor_loss"], "and training is the same"
    assert float(moved[-1]["return"]) != pytest.approx(last, rel=1e-3)
    agent = diffmaac.load(still)
    assert agent.evaluate(5).metrics()["return"] == pytest.approx(float(rows[-1]["return"]), rel=1e-6)
    resumed = diffmaac.train(resume=str(still), steps=160, progress=False)
    assert resumed.agent.act(np.ones(2)) == pytest.approx(agent.act(np.ones(2)), abs=1e-4)
