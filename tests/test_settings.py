"""From what is said to complete settings: presets, remarks, files."""

import dataclasses

import pytest

from diffmaac.settings import FIELDS, about, assemble, default_of, flatten, read_file, remarks, to_yaml
from diffmaac.settings.presets import PRESETS
from diffmaac.tasks import get_task, resolve_task, task_names


def test_the_actor_starts_from_the_whole_batch_unless_told():
    settings = [
        resolve_task("pendulum", {"batch_size": 1280, **words})[1].agent for words in ({}, {"actor_batch_size": 64})
    ]
    assert [agent.start_states for agent in settings] == [1280, 64]


@pytest.mark.parametrize(
    "words",
    [{"algorithm": name} for name in ("sac", "mbpo", "steve")] + [{"horizon": 0}],
    ids=lambda w: str(*w.values()),
)
def test_without_a_gradient_through_them_the_dynamics_change_nothing_of_the_agent(words):
    agents = [resolve_task("half_cheetah", {**words, "dynamics": d})[1].agent for d in ("learned", "true")]
    assert agents[0] == agents[1]


def test_only_what_the_true_dynamics_add_is_left_away_without_their_gradient():
    presets = {"quick": {"actor_every": 3}, "quick/true": {"adjoint_clip": 1.0}}
    task = dataclasses.replace(get_task("pendulum"), presets=presets)
    agents = [resolve_task(task, {"dynamics": "true", "horizon": h})[1].agent for h in (0, 2)]
    assert [agent.actor_every for agent in agents] == [3, 3] and [agent.adjoint_clip for agent in agents] == [0.0, 1.0]


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("preset", ["paper", "quick"])
@pytest.mark.parametrize("dynamics", ["learned", "true"])
def test_every_preset_resolves(task, preset, dynamics):
    _, settings = resolve_task(task, {"preset": preset, "dynamics": dynamics})
    assert settings.run.preset == preset and settings.run.dynamics == dynamics


def test_paper_preset_is_the_reference():
    _, settings = resolve_task("walker2d", {"preset": "paper"})
    agent, model, data = settings.agent, settings.model, settings.data
    assert (agent.horizon, agent.samples, agent.updates_per_step, agent.steve_horizon) == (2, 5, 8, 2)
    assert (model.members, model.model_hidden, model.model_every) == (8, [200] * 4, 1000)
    assert (data.imagined_states, data.imagine_every, data.real_ratio, data.random_steps) == (100_000, 250, 0.05, 5000)
    assert resolve_task("hopper", {"preset": "paper"})[1].data.rollout_length == [1, 15]


def test_true_is_the_true_dynamics_everywhere(tmp_path):
    (tmp_path / "s.yaml").write_text("env: pendulum\ndynamics: true\n")
    for words in (read_file(tmp_path / "s.yaml"), {"dynamics": True}, {"dynamics": "true"}):
        assert resolve_task("pendulum", words)[1].run.dynamics == "true"


@pytest.mark.parametrize(
    "words, named",
    [
        ({"algorithm": "sac", "members": 3, "real_ratio": 0.5}, {"members": "no dynamics", "real_ratio": "data=real"}),
        ({"algorithm": "sac", "members": 5, "steve_floor": 0.5}, {}),  # what it has without a word
        ({"rollout_ramp": [10, 20]}, {"rollout_ramp": "does not grow"}),
        ({"steps": 900, "random_steps": 1000}, {"steps": "nothing is learned"}),
        ({"dynamics": "true", "model_lr": 1e-4, "horizon": 2}, {"model_lr": "no model to fit"}),
        ({"critic_target": "td", "steve_horizon": 3}, {"steve_horizon": "critic_target=td"}),
        ({"algorithm": "svg", "adjoint_clip": 1.0, "real_ratio": 0.5}, {"real_ratio": "data=real"}),
        ({"horizon": 0, "adjoint_clip": 1.0}, {"adjoint_clip": "horizon=0"}),
        ({"horizon": 3, "auto_horizons": [0, 1]}, {"auto_horizons": "horizon=3"}),
        ({"entropy": False, "alpha_lr": 2e-3}, {"alpha_lr": "entropy=false"}),
        ({"mixed_values": "learned"}, {"mixed_values": "dynamics=learned"}),
        ({"dynamics": "mixed", "mixed_values": "learned", "horizon": 2}, {}),
        ({"dynamics": "mixed", "horizon": 0, "members": 3}, {"members": "derivatives only"}),
        ({"dynamics": "mixed", "horizon": 2, "members": 3}, {}),
        ({"steve_horizon": 0, "steve_floor": 0.1}, {"steve_floor": "steve_horizon=0"}),
        ({"horizon": "auto", "auto_horizons": [0, 1], "steve_horizon": 1, "importance_clip": 2.0, "members": 3},
         {"importance_clip": "not weighed"}),
    ],
)  # fmt: skip
def test_settings_without_effect_are_named(words, named):
    task, settings = resolve_task("pendulum", words)
    lines = remarks(settings, task.presets, words)
    assert [line.partition("=")[0] for line in lines] == list(named)
    assert all(reason in line for line, reason in zip(lines, named.values(), strict=True))


def test_settings_round_trip_through_yaml(tmp_path):
    settings = assemble({"horizon": 7, "hidden": [8, 9], "dynamics": True})
    (tmp_path / "c.yaml").write_text(to_yaml(settings))
    assert assemble(read_file(tmp_path / "c.yaml")) == settings


def test_leaf_names_are_unique_and_explained():
    assert len(flatten(assemble({}))) == len(FIELDS)
    assert all(about(f).help for f in FIELDS.values())
    assert all(name in FIELDS for preset in PRESETS.values() for name in preset)
    assert default_of("hidden") is not default_of("hidden")
