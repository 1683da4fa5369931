"""mbrl's MBPO, timed from outside: what `mbpo_peer.py` runs with the interpreter of mbrl's own environment.

    PEER/bin/python benchmarks/peers/mbrl_mbpo.py AMOUNTS

AMOUNTS is a mapping in JSON, `mbpo_peer.AMOUNTS` with threads, steps and folder. The last line printed is JSON: seconds
of each part, epochs of the model, updates, versions.
"""

import importlib.metadata
import json
import sys
import time
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium
import omegaconf
import torch


def modules() -> Any:
    """mbrl, its MBPO, termination functions and SAC. No packages of diffmaac's environment: their types are unknown."""
    algorithm, sac = "mbrl.algorithms.mbpo", "mbrl.third_party.pytorch_sac_pranz24"
    return [import_module(name) for name in ("mbrl", algorithm, "mbrl.env.termination_fns", sac)]


class Clock:
    """Seconds of every call of the functions that it wraps, by part, and the epochs of the model."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.epochs = 0

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Times ``owner.name`` from now on."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part].append(time.perf_counter() - start)

        setattr(owner, name, timed)

    def count_epochs(self, trainer: Any) -> None:
        """Counts the epochs of every fit from now on."""
        fit = trainer.train

        def counted(*args: Any, **kwargs: Any) -> Any:
            train, validation = fit(*args, **kwargs)
            self.epochs += len(train)
            return train, validation

        trainer.train = counted

    def watch(self, mbrl: Any, mbpo: Any, sac: Any) -> None:
        """Everything that is told apart."""
        self.count_epochs(mbrl.models.ModelTrainer)
        self.wrap(mbrl.util.common, "train_model_and_save_model_and_data", "model")
        self.wrap(mbrl.util.common, "step_env_and_add_to_buffer", "environment")
        self.wrap(mbpo, "rollout_model_and_populate_sac_buffer", "imagination")
        self.wrap(sac.SAC, "update_parameters", "optimisation")


def configuration(mbrl: Any, amounts: dict[str, Any]) -> Any:
    """mbrl's own for HalfCheetah, with our amounts."""
    conf, every = Path(mbrl.__file__).parent / "examples" / "conf", amounts["every"]
    names = ("overrides/mbpo_halfcheetah", "algorithm/mbpo", "dynamics_model/gaussian_mlp_ensemble")
    overrides, algorithm, model = (omegaconf.OmegaConf.load(conf / f"{name}.yaml") for name in names)
    taken = amounts["steps"] + every - 1  # the first fit, before which there is nothing to learn from, comes at `every`
    overrides.update({"num_steps": taken, "epoch_length": taken, "sac_hidden_size": amounts["hidden"]})
    overrides.update({"freq_train_model": every, "effective_model_rollouts_per_step": amounts["states"] // every})
    overrides.update({"num_sac_updates_per_step": amounts["updates"]})
    algorithm.update({"initial_exploration_steps": amounts["random_steps"], "random_initial_explore": True})
    model.update({"ensemble_size": amounts["members"], "_recursive_": False})  # as hydra 1.0 made it
    settings = {"seed": 0, "device": "cpu", "log_frequency_agent": 10**9, "save_video": False, "debug_mode": False}
    return omegaconf.OmegaConf.create(
        {**settings, "overrides": overrides, "algorithm": algorithm, "dynamics_model": model}
    )


def instantiate_sac(mbpo: Any, sac: Any, action_space: Any) -> None:
    """Makes the agent itself: the class that its settings name for its action space is in no package."""
    instantiate = mbpo.hydra.utils.instantiate

    def agent_or_model(config: Any, *args: Any) -> Any:
        if "num_inputs" in config:
            return sac.SAC(config.num_inputs, action_space, config.args)
        return instantiate(config, *args)

    mbpo.hydra.utils.instantiate = agent_or_model


def main(amounts: dict[str, Any]) -> dict[str, Any]:
    mbrl, mbpo, termination, sac = modules()
    torch.set_num_threads(amounts["threads"])
    torch.manual_seed(0)
    clock = Clock()
    clock.watch(mbrl, mbpo, sac)
    config = configuration(mbrl, amounts)
    env, test_env = (gymnasium.make("HalfCheetah-v4", disable_env_checker=True) for _ in range(2))
    instantiate_sac(mbpo, sac, env.action_space)
    mbpo.train(env, test_env, termination.no_termination, config, silent=True, work_dir=amounts["folder"])
    seconds = {part: sum(clock.seconds[part]) for part in ("model", "optimisation", "imagination")}
    seconds["environment"] = sum(clock.seconds["environment"][-amounts["steps"] :])
    installed = " ".join(f"{name}=={importlib.metadata.version(name)}" for name in ("mbrl", "torch", "mujoco"))
    updates = len(clock.seconds["optimisation"])
    return {**seconds, "model_epochs": clock.epochs, "updates": updates, "versions": installed}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
