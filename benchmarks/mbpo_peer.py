"""Seconds of 1,000 learning steps of MBPO on half_cheetah: mbrl 0.2.0's, and diffmaac's at the same settings.

    python benchmarks/mbpo_peer.py [peer=PYTHON] [threads=1] [learning_steps=1000]

`peer` is the interpreter of an environment of its own, for mbrl pins old packages:

    python -m venv PEER && PEER/bin/pip install torch==2.13.0 mbrl==0.2.0 mujoco==2.3.7 "numpy<2"
    PEER/bin/pip install hydra-core==1.3.2        # against mbrl's own pin: 1.0.3 does not import on Python 3.11

Settings are mbrl's own for HalfCheetah but for networks of 256 x 256: 7 members of 4 x 200 trained every 250 steps
until the held-out error has not fallen for 5 epochs, 100,000 imagined states for each 250 steps, 10 updates a step; and
1,000 steps of random actions before the learning (`learning_steps`, a multiple of 250). The two are run one after the
other. mbrl's model also predicts the reward, its epochs are single passes over the data (diffmaac's at least 20
gradient steps), and its time in the environment contains the policy.

Writes docs/results/mbpo_peer.csv.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

RANDOM_STEPS, EVERY, STATES, UPDATES, MEMBERS, HIDDEN = 1000, 250, 100_000, 10, 7, 256
PARTS = ("model", "optimisation", "imagination", "environment")


def ours(threads: int, steps: int, folder: str) -> dict[str, Any]:
    """Seconds of each part, epochs of the model, updates."""
    import diffmaac
    from diffmaac.analysis.record import read_metrics

    given: dict[str, Any] = {
        "algorithm": "mbpo",
        "preset": "paper",
        "steps": RANDOM_STEPS + steps,
        "random_steps": RANDOM_STEPS,
        "epoch_steps": EVERY,
        "members": MEMBERS,
        "hidden": [HIDDEN, HIDDEN],
        "model_every": EVERY,
        "model_patience": 5,
        "imagine_every": EVERY,
        "imagined_states": STATES,
        "updates_per_step": UPDATES,
        "eval_episodes": 1,
        "final_episodes": 1,
        "threads": threads,
        "tensorboard": False,
    }
    run = diffmaac.train("half_cheetah", progress=False, out=f"{folder}/ours", **given)
    rows = [row for row in read_metrics(run.path / "metrics.csv") if int(row["step"]) > RANDOM_STEPS]
    seconds = {part: sum(float(row[f"seconds_{part}"]) for row in rows) for part in PARTS}
    epochs = sum(float(row["model_epochs"]) for row in rows)  # one fit a row
    return {**seconds, "model_epochs": round(epochs), "updates": UPDATES * steps}


def theirs(threads: int, steps: int, folder: str) -> dict[str, Any]:
    """The same of mbrl, whose functions are timed from outside."""
    import gymnasium
    import omegaconf
    import torch

    # No packages of this environment, so that nothing is known of their types.
    names = ("mbrl", "mbrl.algorithms.mbpo", "mbrl.env.termination_fns", "mbrl.third_party.pytorch_sac_pranz24")
    modules: Any = map(import_module, names)
    mbrl, mbpo, termination, sac = modules
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(part: str, function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part].append(time.perf_counter() - start)

        return wrapped

    epochs = [0]
    fit = mbrl.models.ModelTrainer.train

    def counted(*args: Any, **kwargs: Any) -> Any:
        train, validation = fit(*args, **kwargs)
        epochs[0] += len(train)
        return train, validation

    mbrl.models.ModelTrainer.train = counted
    common = mbrl.util.common
    common.train_model_and_save_model_and_data = timed("model", common.train_model_and_save_model_and_data)
    common.step_env_and_add_to_buffer = timed("environment", common.step_env_and_add_to_buffer)
    mbpo.rollout_model_and_populate_sac_buffer = timed("imagination", mbpo.rollout_model_and_populate_sac_buffer)
    sac.SAC.update_parameters = timed("optimisation", sac.SAC.update_parameters)

    conf = Path(mbrl.__file__).parent / "examples" / "conf"
    load = omegaconf.OmegaConf.load
    overrides = load(conf / "overrides" / "mbpo_halfcheetah.yaml")
    taken = steps + EVERY - 1  # the first fit, before which there is nothing to learn from, comes at step EVERY
    overrides.update({"num_steps": taken, "epoch_length": taken, "sac_hidden_size": HIDDEN})
    overrides.update({"freq_train_model": EVERY, "effective_model_rollouts_per_step": STATES // EVERY})
    overrides.update({"num_sac_updates_per_step": UPDATES})
    algorithm, model = load(conf / "algorithm" / "mbpo.yaml"), load(conf / "dynamics_model/gaussian_mlp_ensemble.yaml")
    algorithm.update({"initial_exploration_steps": RANDOM_STEPS, "random_initial_explore": True})
    model.update({"ensemble_size": MEMBERS, "_recursive_": False})  # as hydra 1.0 made it
    settings = {"seed": 0, "device": "cpu", "log_frequency_agent": 10**9, "save_video": False, "debug_mode": False}
    settings |= {"overrides": overrides, "algorithm": algorithm, "dynamics_model": model}
    env, test_env = (gymnasium.make("HalfCheetah-v4", disable_env_checker=True) for _ in range(2))
    # The class that the agent's settings name for its action space is in no package.
    instantiate = mbpo.hydra.utils.instantiate

    def agent_or_model(config: Any, *args: Any) -> Any:
        if "num_inputs" in config:
            return sac.SAC(config.num_inputs, env.action_space, config.args)
        return instantiate(config, *args)

    mbpo.hydra.utils.instantiate = agent_or_model
    config = omegaconf.OmegaConf.create(settings)
    mbpo.train(env, test_env, termination.no_termination, config, silent=True, work_dir=folder)
    seconds = {part: sum(times) for part, times in spent.items() if part != "environment"}
    seconds["environment"] = sum(spent["environment"][-steps:])
    return {**seconds, "model_epochs": epochs[0], "updates": len(spent["optimisation"])}


def measured(name: str, found: dict[str, Any], threads: int, steps: int) -> dict[str, Any]:
    row: dict[str, Any] = {"library": name, "threads": threads, "learning_steps": steps}
    row |= {f"{part}_s": round(found[part], 1) for part in PARTS}
    row |= {"total_s": round(sum(found[part] for part in PARTS), 1), "model_epochs": found["model_epochs"]}
    row |= {"ms_an_update": round(1e3 * found["optimisation"] / found["updates"], 2)}
    return row | {"updates": found["updates"]}


def main(words: list[str]) -> None:
    from diffmaac.analysis.record import machine, versions, write_table
    from diffmaac.config import parse_words

    given = {"peer": "", "threads": 1, "learning_steps": 1000, **parse_words(words)}
    threads, steps = given["threads"], given["learning_steps"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        found = ours(threads, steps, folder)
        rows.append({**measured("diffmaac", found, threads, steps), "versions": versions("diffmaac", "torch")})
        if given["peer"]:
            command = [given["peer"], __file__, "--theirs", str(threads), str(steps), folder]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = json.loads(output.splitlines()[-1])
            rows.append({**measured("mbrl", found, threads, steps), "versions": found["versions"]})
    for row in rows:
        row["machine"] = machine()
        print(*row.values(), sep="\t")
    write_table(Path("docs/results") / "mbpo_peer.csv", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--theirs"]:
        numbers = theirs(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        installed = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in ("mbrl", "torch", "mujoco"))
        print(json.dumps({**numbers, "versions": installed}))
    else:
        main(sys.argv[1:])
