"""Nothing in an update waits for the device, and what is recorded once does when replayed what it does each time anew.

On a CPU `TapeRecorder` records under the rules of a CUDA graph; with a GPU the same tests run on CUDA graphs.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.runs import TINY
from support.tape import NoHost, TapeRecorder

from diffmaac import SettingError
from diffmaac.tasks import resolve_task
from diffmaac.training.graphed import WARM_UP, AbstractRecorder, CudaRecorder, Graphed
from diffmaac.training.trainer import Trainer

CUDA = pytest.param(
    "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")]
)
ON = pytest.mark.parametrize("device", ["cpu", CUDA])
VARIANTS: dict[str, dict[str, Any]] = {
    "maac": {},
    "mbpo": {"algorithm": "mbpo"},
    "sac": {"algorithm": "sac"},
    "steve": {"algorithm": "steve"},
    "svg": {"algorithm": "svg", "adjoint_clip": 1.0},
    "no entropy": {"entropy": False, "horizon": 0},
    "a mean of policies, clipped": {"policy_tau": 0.1, "adjoint_clip": 0.5, "max_grad_norm": 0.1, "samples": 3},
    "turns": {"actor_every": 3, "updates_per_step": 2, "critics": 3},
    "a linear system": {"env": "double_integrator", "dynamics": "true"},
    "no members to spare": {"batch_size": 17, "actor_batch_size": 5, "members": 4},
}
LEARNED = pytest.mark.parametrize("variant", VARIANTS)


def trained(device: str, recorder: AbstractRecorder | None = None, steps: int = 0, **changes: Any) -> Trainer:
    """A trainer after its random steps and `steps` more, with a thousand imagined states where it imagines."""
    words = {"env": "pendulum", **TINY, "device": device, "cuda_graph": False, "imagined_states": 1000, **changes}
    if "algorithm" in changes:
        del words["horizon"]  # which the others fix
    task, settings = resolve_task(words["env"], words)
    trainer = Trainer(task, settings, recorder)
    while trainer.step < settings.data.random_steps + steps:
        trainer._advance()
    return trainer


def prepared(device: str, **changes: Any) -> Trainer:
    """One that has made an update, a fit and an imagination: what is made once is made."""
    trainer = trained(device, steps=1, **changes)
    for count in range(trainer.settings.agent.actor_every):
        trainer._update(count)
    return trainer


@contextlib.contextmanager
def no_host(device: str) -> Iterator[None]:
    """Raises where the host waits for the device."""
    if device == "cpu":
        with NoHost() as mode:
            yield
        assert mode.calls > 0
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON
@LEARNED
def test_an_update_reads_nothing_back(variant: str, device: str) -> None:
    trainer = prepared(device, **VARIANTS[variant])
    with no_host(device):
        for count in range(6):
            trainer._update(count)


@ON
@pytest.mark.parametrize("lengths", [[1, 1], [3, 3]])
def test_an_imagination_reads_nothing_back(lengths: list[int], device: str) -> None:
    trainer = prepared(device, rollout_length=lengths)
    with no_host(device):
        trainer.experience.imagine(trainer.step)
    assert len(trainer.experience.imagined) > 1000


@ON
def test_an_imagination_of_one_step_reads_nothing_back_where_episodes_terminate(device: str) -> None:
    trainer = prepared(device)
    ended = dataclasses.replace(trainer.task, terminated=lambda obs: obs[..., 0] > 0.5)
    trainer.experience.task = ended
    with no_host(device):
        trainer.experience.imagine(trainer.step)


@ON
def test_a_gradient_step_of_the_model_reads_nothing_back(device: str) -> None:
    trainer = prepared(device)
    fitter, real = trainer.fitter, trainer.experience.real.all()
    assert fitter is not None
    x, y = torch.cat([real.obs_t, real.action_t], -1), real.obs_tp1 - real.obs_t
    batches = next(fitter._passes(len(x), trainer._generators["model"]))
    with no_host(device):
        for batch in batches:
            fitter._step(x[batch], y[batch])


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x + torch.tensor(1.0),
        lambda x: torch.bincount(x.long()),
        lambda x: x.unique(),
        lambda x: x.masked_fill_(x > 0, 0.0).index_put_((x > 0,), torch.ones(())),
    ],
)
def test_the_guard_of_these_tests_sees_what_waits(work) -> None:
    with pytest.raises(AssertionError, match="the host would wait"), NoHost():
        work(torch.ones(3))


def recorder_of(device: str, trainer: Trainer) -> AbstractRecorder:
    return TapeRecorder() if device == "cpu" else CudaRecorder(trainer._generators.values())


def state_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything that training has changed, by name."""
    agent, flat = trainer.agent, {}
    networks = {"policy": agent.policy, "critics": agent.critics, "target": agent.target_critics}
    networks["evaluated"] = agent.evaluated_policy
    if trainer.model is not None:
        networks["model"] = trainer.model.network
    for name, network in networks.items():
        flat |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
    for i, optimizer in enumerate(agent.optimizers):
        moments = optimizer.state_dict()["state"].items()
        flat |= {f"optimizer {i}, {p}, {key}": x for p, state in moments for key, x in state.items()}
    flat |= {"log_alpha": agent.log_alpha.detach(), "real": trainer.experience.real.all().obs_tp1}
    return flat | {"imagined": trainer.experience.imagined.all().obs_tp1}


@ON
@LEARNED
def test_replayed_updates_are_those_made_one_by_one(variant: str, device: str) -> None:
    """A hundred of them, to the bit on a CPU, to float32's rounding on CUDA. They draw the same numbers."""
    changes = VARIANTS[variant]
    one_by_one, replayed = prepared(device, **changes), prepared(device, **changes)
    replayed._record(recorder := recorder_of(device, replayed))
    for count in range(100):
        one_by_one._update(count)
        replayed._update(count)
    kinds = {count % replayed.settings.agent.actor_every == 0 for count in range(9)}
    assert len(replayed._learn._recordings) == len(kinds)
    if isinstance(recorder, TapeRecorder):
        assert recorder.replayed == 100 - recorder.warmed - recorder.recorded > 80
    check_equal(one_by_one, replayed, device)
    means = one_by_one._means.read(), replayed._means.read()
    assert means[0] == (means[1] if device == "cpu" else pytest.approx(means[1], rel=1e-3, abs=1e-5))


def check_equal(one: Trainer, other: Trainer, device: str) -> None:
    states = state_of(one), state_of(other)
    assert states[0].keys() == states[1].keys()
    for name, x in states[0].items():
        rtol, atol = (1e-3, 1e-5) if device == "cuda" else (0, 0)
        torch.testing.assert_close(states[1][name], x, rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}")
    for name, generator in one._generators.items():
        assert torch.equal(generator.get_state(), other._generators[name].get_state()), name


@ON
@pytest.mark.parametrize("changes", [{}, {"rollout_length": [1, 3], "rollout_ramp": [55, 70]}, {"algorithm": "sac"}])
def test_a_whole_training_with_recordings_is_the_same(changes: dict[str, Any], device: str) -> None:
    """Data grow, rollouts grow longer, models are fitted, imagined data wrap around: nothing of it is held fast."""
    many = {"model_epochs": 4, "model_batch_size": 16, "imagine_every": 4, **changes}
    one_by_one = trained(device, steps=40, **many)
    if device == "cuda":
        recorded = trained(device, steps=40, **{**many, "cuda_graph": True})
    else:
        recorded = trained(device, TapeRecorder(), steps=40, **many)
    used = [recorded._learn, recorded._collector._act, *([recorded.experience._roll] if recorded.dynamics else [])]
    assert all(len(graphed._recordings) == 1 for graphed in used)
    if recorded.fitter is not None:
        assert len(recorded.fitter._recorded._recordings) == 1
    check_equal(one_by_one, recorded, device)


@ON
def test_another_horizon_is_recorded_by_itself(device: str) -> None:
    one_by_one, replayed = prepared(device, horizon=2), prepared(device, horizon=2)
    replayed._record(recorder_of(device, replayed))
    for horizon in (2, 1, 2, 0):
        one_by_one.agent.horizon = replayed.agent.horizon = horizon
        for count in range(WARM_UP + 3):
            one_by_one._update(count)
            replayed._update(count)
    assert len(replayed._learn._recordings) == 3
    check_equal(one_by_one, replayed, device)


def test_a_restored_optimiser_is_recorded_anew(tmp_path) -> None:
    """Restoring puts new moments in the place of the old, which a recording would still change."""
    first = trained("cpu", TapeRecorder(), steps=10)
    first.begin(tmp_path)
    again = trained("cpu", TapeRecorder(), steps=10)
    again.restore(tmp_path)
    assert (
        not again._learn._recordings
        and not again._collector._act._recordings
        and not again.experience._roll._recordings
    )
    for trainer in (first, again):
        for count in range(20):
            trainer._update(count)
    check_equal(first, again, "cpu")


def test_what_cannot_be_recorded_runs_as_it_is() -> None:
    """The physics, which is computed outside of torch; data of it, and the fit of a model beside it."""
    recorder = TapeRecorder()
    trainer = trained("cpu", recorder, steps=2, dynamics="mixed", imagined_states=10, horizon=1, imagine_every=1)
    assert (
        trainer._learn._recorder is None
        and trainer.experience._roll._recorder is None
        and trainer._collector._act._recorder is recorder
    )
    mbpo = trained("cpu", recorder, dynamics="mixed", algorithm="mbpo", imagined_states=10)
    assert mbpo._learn._recorder is recorder, "its updates take no step of the dynamics"


def test_a_reward_that_reads_a_tensor_cannot_be_recorded() -> None:
    """On CUDA that is a SettingError; the rule is the same here."""
    trainer = prepared("cpu")
    trainer.task = trainer.agent.task = dataclasses.replace(
        trainer.task, reward=lambda s, a: s[..., 0] * (1.0 if float(s.detach().mean()) > 9 else 2.0)
    )
    trainer._record(TapeRecorder())
    with pytest.raises(AssertionError, match="the host would wait"):
        for count in range(WARM_UP + 1):
            trainer._update(count)


def test_inputs_are_copied_and_each_setting_and_shape_has_a_recording_of_its_own() -> None:
    recorder = TapeRecorder()
    power = Graphed(lambda exponent, x: x**exponent, recorder)
    for n in (2, 3):
        for exponent in (1, 2):
            for i in range(WARM_UP + 3):
                x = torch.full((n,), float(i))
                assert power(exponent, x).tolist() == [float(i) ** exponent] * n
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (4 * WARM_UP, 4, 8)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA")
def test_what_reads_a_tensor_is_refused_in_one_line() -> None:
    graphed = Graphed(lambda _, x: x * float(x.sum()), CudaRecorder([]))
    for _ in range(WARM_UP):
        graphed(None, torch.ones(2, device="cuda"))
    with pytest.raises(SettingError, match=r"cannot be recorded as a CUDA graph.*cuda_graph=false"):
        graphed(None, torch.ones(2, device="cuda"))
