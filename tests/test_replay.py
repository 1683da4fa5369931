"""Real and imagined data: the ring that holds them, and what is imagined."""

import dataclasses

import pytest
import torch

from diffmaac import SettingError, seeding
from diffmaac.dynamics import true_dynamics
from diffmaac.nn import SquashedGaussianPolicy
from diffmaac.replay import Replay
from diffmaac.rollout import imagine
from diffmaac.tasks import get_task
from diffmaac.types import Transition


def test_nothing_is_imagined_beyond_a_terminal_state():
    task = dataclasses.replace(get_task("double_integrator"), terminated=lambda s: s[..., 0] > 0)
    generator = seeding.torch_generator(0, "test")
    policy = SquashedGaussianPolicy(2, 1, [8], generator)
    start = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    imagined = imagine(policy, true_dynamics(task.system), task, start, 3, 0.9, generator)
    assert len(imagined.obs_t) == 3 + 2 + 2
    assert imagined.discount_tp1.tolist() == pytest.approx([0.0] + [0.9] * 6)


@pytest.mark.parametrize("n_step", [1, 2, 3, 9])
@pytest.mark.parametrize("ends", [False, True])
def test_a_transition_over_several_steps_is_the_discounted_sum(n_step, ends):
    """Followed step by step through the rollouts, against sums written out for each of them."""
    task = get_task("double_integrator")
    if ends:
        task = dataclasses.replace(task, terminated=lambda s: s[..., 0] > 0.2)
    policy = SquashedGaussianPolicy(2, 1, [8], seeding.torch_generator(0, "policy"))
    start, alpha, length = torch.linspace(-1.0, 0.25, 12)[:, None].expand(-1, 2), torch.tensor(0.3), 4
    made = {n: _imagined(policy, task, start, length, n, alpha) for n in (1, n_step)}
    single, several = made[1], made[n_step]
    torch.testing.assert_close(several.obs_t, single.obs_t, rtol=0, atol=0)
    after = {tuple(obs.tolist()): i for i, obs in enumerate(single.obs_t)}  # where a rollout goes on from a state
    crossed = 0
    for i in range(len(single.obs_t)):
        j, reward, discount = i, single.reward_t[i], single.discount_tp1[i]
        for _ in range(n_step - 1):
            following = after.get(tuple(single.obs_tp1[j].tolist()))
            if following is None:
                break
            j, crossed = following, crossed + 1
            reward = reward + discount * (single.reward_t[j] - alpha * single.log_prob_t[j])
            discount = discount * single.discount_tp1[j]
        torch.testing.assert_close(several.reward_t[i], reward)
        torch.testing.assert_close(several.discount_tp1[i], discount)
        torch.testing.assert_close(several.obs_tp1[i], single.obs_tp1[j], rtol=0, atol=0)
    assert (crossed > 0) == (n_step > 1) and (several.discount_tp1 == 0).any() == ends


def _imagined(policy, task, start, length, n_step, alpha) -> Transition:
    generator = seeding.torch_generator(0, "imagine")
    return imagine(policy, true_dynamics(task.system), task, start, length, 0.9, generator, n_step, alpha)


def test_the_replay_is_a_ring():
    replay = Replay(3, 1, 1)
    for i in range(5):
        row = torch.full((1, 1), float(i))
        replay.add(Transition(row, row, row[0], row[0], row, row[0]))
    assert replay.all().obs_t[:, 0].tolist() == [2.0, 3.0, 4.0] and len(replay) == 3
    with pytest.raises(ValueError, match="does not fit"):
        replay.add(Transition(*(torch.zeros(4, *shape) for shape in ((1,), (1,), (), (), (1,), ()))))


@pytest.mark.parametrize(("capacity", "newest"), [(3, [2, 3, 4]), (5, [2, 3, 4]), (2, [3, 4])])
def test_a_replay_of_another_capacity_takes_up_the_newest_rows(capacity, newest):
    def row(i):
        return Transition(*(torch.full(shape, float(i)) for shape in ((1, 1), (1, 1), (1,), (1,), (1, 1), (1,))))

    full = Replay(3, 1, 1)
    for i in range(5):
        full.add(row(i))
    other = Replay(capacity, 1, 1)
    other.load_state_dict(full.state_dict())
    assert other.all().obs_t[:, 0].tolist() == newest
    for i in (5, 6, 7, 8):
        other.add(row(i))
    assert other.all().obs_t[:, 0].tolist() == [*newest, 5, 6, 7, 8][-capacity:]


def test_a_replay_beyond_memory_is_refused():
    with pytest.raises(SettingError, match=r"does not fit into memory\. Give smaller steps="):
        Replay(10**15, 1, 1)
