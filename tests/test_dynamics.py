"""One contract over all dynamics, and what each has of its own."""

import numpy as np
import pytest
import torch
from support.loop import generator

from diffmaac import DivergenceError, LinearSystem, MujocoSystem, TaskError, get_task
from diffmaac.dynamics import GaussianEnsemble, LearnedDynamics, LinearDynamics, identified_dynamics, true_dynamics
from diffmaac.nn import BatchedMLP

BATCH = 12


def learned(obs_size: int, action_size: int, members: int = 3) -> LearnedDynamics:
    return LearnedDynamics(GaussianEnsemble(obs_size, action_size, members, [32, 32], generator()))


@pytest.fixture(params=["learned", "closed form", "mjx", "identified"], scope="module")
def case(request):
    """A task and dynamics for it."""
    task = get_task("double_integrator" if request.param == "closed form" else "pendulum")
    if request.param == "identified":
        sets = [{"body_mass": np.array([0.0, mass])} for mass in (0.8, 1.0, 1.2)]
        return task, identified_dynamics(task.system, sets)
    return task, learned(task.obs_size, task.action_size) if request.param == "learned" else true_dynamics(task.system)


def inputs(task, dtype=torch.float32):
    rng = np.random.default_rng(0)
    states = [task.reset(rng) for _ in range(BATCH)]
    obs = task.observe(*(torch.tensor(np.stack(x), dtype=dtype) for x in zip(*states, strict=True)))
    return obs, 0.9 * (2 * torch.rand(BATCH, task.action_size, generator=generator(1), dtype=dtype) - 1)


def test_step_is_pure_and_keeps_shape_and_dtype(case):
    task, dynamics = case
    obs, action = inputs(task)
    noise = dynamics.sample_noise(BATCH, generator(2))
    first, second = dynamics.step(obs, action, noise), dynamics.step(obs, action, noise)
    assert torch.equal(first, second)
    assert first.shape == obs.shape and first.dtype == obs.dtype


def test_value_is_the_same_with_and_without_gradient(case):
    task, dynamics = case
    obs, action = inputs(task)
    noise = dynamics.sample_noise(BATCH, generator(2))
    with torch.no_grad():
        without = dynamics.step(obs, action, noise)
    with_gradient = dynamics.step(obs.requires_grad_(), action.requires_grad_(), noise)
    assert with_gradient.requires_grad
    torch.testing.assert_close(with_gradient.detach(), without, rtol=1e-5, atol=1e-5)


def test_gradient_is_the_finite_difference(case):
    task, dynamics = case
    obs, action = inputs(task, torch.float64)
    noise = dynamics.sample_noise(BATCH, generator(2), torch.float64)
    if isinstance(dynamics, LearnedDynamics):
        dynamics.network.double()
    arguments = (obs.requires_grad_(), action.requires_grad_())
    # MJX and the C engine, which computes the differenced values, agree to 1e-12; a step of 1e-6 then gives 1e-6.
    assert torch.autograd.gradcheck(lambda o, a: dynamics.step(o, a, noise), arguments, atol=1e-5, fast_mode=True)
    if isinstance(dynamics, LearnedDynamics):
        dynamics.network.float()


def test_noise_has_the_same_numbers_in_every_dtype(case):
    single, double = (case[1].sample_noise(BATCH, generator(2), dtype) for dtype in (torch.float32, torch.float64))
    if single is None:
        assert double is None
        return
    assert single.gaussian.dtype == torch.float32 and double.gaussian.dtype == torch.float64
    assert torch.equal(single.member, double.member) and torch.equal(single.gaussian.double(), double.gaussian)


def test_members_can_be_stepped_on_their_own(case):
    task, dynamics = case
    obs, action = inputs(task)
    m = dynamics.members
    out = dynamics.step_members(obs.expand(m, -1, -1), action.expand(m, -1, -1), None)
    assert out.shape == (m, BATCH, task.obs_size)


def test_batched_ensemble_equals_its_members_one_by_one():
    batched = BatchedMLP(4, [5, 32, 3], torch.nn.functional.silu, generator()).double()
    x = torch.randn(4, 7, 5, generator=generator(1), dtype=torch.float64)
    out = batched(x)
    for m in range(4):
        h = torch.nn.functional.silu(x[m] @ batched.weights[0][m] + batched.biases[0][m])
        torch.testing.assert_close(out[m], h @ batched.weights[1][m] + batched.biases[1][m], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("member", [[0] * 6, [2, 0, 1, 1, 0, 2], [1, 1, 1, 1, 0, 1]])
def test_each_sample_is_moved_by_its_own_member(member):
    dynamics = learned(3, 1)
    obs, action = torch.randn(6, 3, generator=generator(1)), torch.randn(6, 1, generator=generator(2))
    noise = dynamics.sample_noise(6, generator(3))._replace(member=torch.tensor(member), most=None)
    out = dynamics.step(obs, action, noise)
    each = dynamics.step_members(*(x.expand(3, -1, -1) for x in (obs, action, noise.gaussian)))
    torch.testing.assert_close(out, each[torch.tensor(member), torch.arange(6)])


def test_a_member_with_more_samples_than_the_noise_says_is_refused():
    """Else they would stand in the next member's places."""
    dynamics = learned(3, 1)
    noise = dynamics.sample_noise(6, generator(3))
    assert noise.most == 2
    with pytest.raises(RuntimeError, match="a member moves more samples than most=2"):
        dynamics.step(torch.zeros(6, 3), torch.zeros(6, 1), noise._replace(member=torch.zeros(6, dtype=torch.long)))


def test_members_are_drawn_evenly():
    noise = learned(3, 1).sample_noise(300, generator())
    assert torch.bincount(noise.member).tolist() == [100, 100, 100]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_every_member_is_as_likely_in_batches_that_do_not_divide_evenly(batch):
    """3,000 draws: a count has a standard deviation of at most 26, and four of them are allowed."""
    dynamics, g = learned(3, 1), generator()
    first = torch.stack([dynamics.sample_noise(batch, g).member[0] for _ in range(3000)])
    assert (torch.bincount(first, minlength=3) - 1000).abs().max() < 104


def test_members_differ_by_their_bootstrap_and_their_start():
    dynamics = learned(2, 1)
    with torch.no_grad():
        out = dynamics.step_members(torch.randn(1, 5, 2).expand(3, -1, -1), torch.zeros(3, 5, 1), None)
    assert not torch.allclose(out[0], out[1])


def test_learned_dynamics_without_noise_says_so():
    with pytest.raises(ValueError, match="sample_noise"):
        learned(2, 1).step(torch.zeros(1, 2), torch.zeros(1, 1), None)


def test_linear_jacobians_are_A_and_B():
    system = get_task("double_integrator").system
    assert isinstance(system, LinearSystem)
    jacobians = torch.autograd.functional.jacobian(
        lambda o, a: LinearDynamics(system).step(o, a), (torch.zeros(2).double(), torch.zeros(1).double())
    )
    np.testing.assert_array_equal(jacobians[0].numpy(), system.A)
    np.testing.assert_array_equal(jacobians[1].numpy(), system.B)


def test_a_state_that_is_not_finite_is_named():
    task = get_task("pendulum")
    obs, action = inputs(task)
    obs[5, 2] = float("inf")
    with pytest.raises(DivergenceError, match="row 5"):
        true_dynamics(task.system).step(obs, action, None)


def test_mixed_dtypes_are_refused():
    task = get_task("pendulum")
    obs, action = inputs(task)
    with pytest.raises(ValueError, match=r"float32.*float64|float64.*float32"):
        true_dynamics(task.system).step(obs.requires_grad_(), action.double(), None)


SLIDE = """<mujoco><option integrator="implicit"/><worldbody>
  <body pos="0 0 1"><joint name="j" type="slide" axis="0 0 1"/><geom size="0.1" mass="2"/></body></worldbody>
  <actuator><motor joint="j" ctrlrange="-1 1" ctrllimited="true" {}/></actuator></mujoco>"""


def test_what_mjx_has_not_goes_through_the_engine():
    """MJX lacks the implicit integrator. A mass of 2 kg on a slide: dv/dctrl = h/m, dx/dctrl = h^2/m."""
    dynamics = true_dynamics(MujocoSystem.from_xml(SLIDE.format(""), frame_skip=1))
    action = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    after = dynamics.step(torch.zeros(1, 2, dtype=torch.float64), action, None)
    slopes = [torch.autograd.grad(x, action, retain_graph=True)[0].item() for x in after[0]]
    assert slopes == pytest.approx([0.002**2 / 2, 0.002 / 2], rel=1e-6)


def test_a_model_that_cannot_be_differentiated_is_refused():
    with pytest.raises(TaskError, match=r"dynamics=true cannot be used here: actuator 0 has a delay"):
        true_dynamics(MujocoSystem.from_xml(SLIDE.format('delay=".02" nsample="10"'), frame_skip=1))
