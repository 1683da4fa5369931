"""Our tasks under Gymnasium's ids, and tasks that only a program knows."""

import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
import yaml
from gymnasium.utils.env_checker import check_env
from support.runs import refused

import diffmaac
from diffmaac.registration import gymnasium_id
from diffmaac.tasks import task_names

MODULES = 40
"""That `import diffmaac` may load at most, those of the standard library among them. It loads 30. They are counted and
not timed: how long they take is a property of the processor."""


@pytest.mark.parametrize("name", task_names())
@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*imum value is.*")  # observations are unbounded
def test_every_task_is_an_environment_of_gymnasium(name: str):
    env = gymnasium.make(gymnasium_id(name))
    assert env.unwrapped.spec is not None and env.unwrapped.spec.id == gymnasium_id(name)
    check_env(env.unwrapped, skip_render_check=True)
    many = gymnasium.make_vec(gymnasium_id(name), num_envs=2)
    obs, _ = many.reset(seed=0)
    assert obs.shape == (2, diffmaac.get_task(name).obs_size)
    many.step(many.action_space.sample())
    many.close()


def test_ids_are_in_camel_case():
    assert gymnasium_id("half_cheetah") == "diffmaac/HalfCheetah-v0"
    assert gymnasium_id("walker2d") == "diffmaac/Walker2d-v0"


def test_options_are_the_tasks():
    env = gymnasium.make("diffmaac/Pendulum-v0", episode_steps=2)
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("imports", ["diffmaac, gymnasium", "gymnasium, diffmaac"])
def test_either_may_be_imported_first(imports: str):
    program = f"import {imports}; gymnasium.make('diffmaac/HalfCheetah-v0'); import sys; print(sys.meta_path)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "diffmaac" not in done.stdout  # nothing of ours stays where modules are found


def test_importing_is_quick_and_loads_neither():
    program = "import sys; before = set(sys.modules); import diffmaac; print(*(set(sys.modules) - before))"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    own = {module for module in loaded if module.split(".")[0] not in sys.stdlib_module_names}
    assert own == {"diffmaac", "diffmaac.registration"}
    assert "importlib.metadata" not in loaded  # the slowest of the standard library's
    assert len(loaded) <= MODULES


def test_stable_baselines3_trains_on_one():
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", gymnasium.make("diffmaac/Pendulum-v0"), learning_starts=10, seed=0)
    model.learn(20)
    assert model.num_timesteps == 20


def test_a_run_of_a_task_that_a_program_made_says_how_to_name_it(finished: Path, tmp_path: Path, capsys) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    name = yaml.safe_load((run / "config.yaml").read_text())["run"]["env"]
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace(f"env: {name}", "env: gantry_of_a_program")
    )
    line = refused("evaluate", str(run), capsys=capsys)
    assert (
        "unknown env 'gantry_of_a_program'" in line
        and "call `diffmaac.register('gantry_of_a_program', lambda: task)`" in line
    )
