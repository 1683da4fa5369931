"""Updates and rollouts against their own arithmetic, and SAC's update against stable-baselines3's.

    python benchmarks/speed.py [threads=1] [repeats=60]        rollouts a tenth as often

half_cheetah sizes, networks 256 x 256, batch 256, 8 members of 4 x 200, STEVE horizon 2, float32. For each workload:
the floating-point operations of its matrix products, counted by torch; the time of those very products alone, replayed
with the shapes and strides that they had (the floor); what they would take at the rate of a 256^3 product. Workload,
floor and rate are timed in turn, so that a change in load meets all; medians. Needs the extra `dev`.

Writes docs/results/speed-<threads>.csv, and what torch's profiler says of each workload, the operations that take most
of its time, to speed_profile-<threads>.csv. The profiler keeps memory of its own, so that what is allocated is new
memory more often, whose first use (`threshold_backward` of a product) is slow: there, not in the update itself.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bfloat16 import in_bfloat16
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from diffmaac.analysis.record import machine, versions, write_table
from diffmaac.api import prepare
from diffmaac.config import parse_words
from diffmaac.rollout import imagine
from diffmaac.training import Trainer

BATCH, STATES, WARM_UP, OPERATIONS = 256, 100_000, 5, 12
PEER = "SAC update: stable-baselines3"
PRODUCTS = {
    torch.ops.aten.mm.default: (torch.mm, 0),
    torch.ops.aten.addmm.default: (torch.mm, 1),
    torch.ops.aten.bmm.default: (torch.bmm, 0),
    torch.ops.aten.baddbmm.default: (torch.bmm, 1),
}
"""The operations that are matrix products, and where their two factors stand among the arguments."""


class Products(TorchDispatchMode):
    """Records every matrix product, to be replayed on factors of the same shapes and strides.

    What lay at one place in memory lies at one place again, so that weights used twice are as warm in the caches.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recorded: list[Callable[[], Tensor]] = []
        self._factors: dict[tuple, Tensor] = {}

    def _factor(self, x: Tensor) -> Tensor:
        key = (x.data_ptr(), x.shape, x.stride(), x.dtype)
        if key not in self._factors:
            self._factors[key] = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).normal_()
        return self._factors[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            product, first = PRODUCTS[func]
            left, right = (self._factor(x) for x in args[first : first + 2])
            out = product(left, right)
            self._recorded.append(lambda: product(left, right, out=out))
        return func(*args, **(kwargs or {}))

    def __call__(self) -> None:
        for product in self._recorded:
            product()


@dataclass
class Workload:
    name: str
    run: Callable[[], object]
    states: int = 0
    """States of a rollout, for a rate."""


def trainer_of(algorithm: str, folder: str) -> Trainer:
    """A trainer with a thousand transitions of random actions and, where it has dynamics, as many imagined ones."""
    trainer = prepare(
        "half_cheetah",
        {
            "algorithm": algorithm,
            "preset": "paper",
            "samples": 1,
            "random_steps": 1000,
            "imagined_states": 1000,
            "out": f"{folder}/{algorithm}",
        },
    )
    for _ in range(1000):
        trainer._collect()
    if trainer.dynamics is not None:
        trainer._imagine(trainer.dynamics)
    return trainer


def peer(trainer: Trainer) -> SAC:
    """stable-baselines3's SAC at its defaults (256 x 256, batch 256), filled with the same number of transitions."""
    model = SAC("MlpPolicy", trainer.task.make_env(), learning_starts=999, batch_size=BATCH, device="cpu")
    model.learn(1000)
    model.set_logger(Logger(None, []))
    return model


def workloads(folder: str) -> list[list[Workload]]:
    """In groups that are timed in turn: a group with the models would sweep the caches before every SAC update."""
    sac, maac = trainer_of("sac", folder), trainer_of("maac", folder)
    model, fitter, generator = maac.model, maac.fitter, torch.Generator().manual_seed(0)
    assert model is not None and fitter is not None
    theirs, batch = peer(sac), maac._sample(BATCH)
    real = maac.replay.all()
    x, y = torch.cat([real.obs_t, real.action_t], -1), real.obs_tp1 - real.obs_t
    model.network.fit_normaliser(x, y)
    rows = torch.randint(len(x), (model.members, BATCH), generator=generator)
    start = maac.replay.sample(STATES, generator).obs_t
    policy = maac.agent.policy

    def targets() -> object:
        return maac.agent._critic_target(batch)

    def rollout() -> object:
        return imagine(policy, model, maac.task, start, 1, 0.99, generator)

    single, half = torch.randn(2, 256, 256), torch.randn(2, 256, 256).bfloat16()
    return [
        [
            Workload("product of 256^3, float32", lambda: single[0] @ single[1]),
            Workload("product of 256^3, bfloat16", lambda: half[0] @ half[1]),
        ],
        [Workload(PEER, lambda: theirs.train(1, BATCH)), Workload("SAC update", lambda: sac._update(0))],
        [
            Workload("MAAC update", lambda: maac._update(0)),
            Workload("MAAC, critics", lambda: maac.agent.update_critic(batch)),
            Workload("MAAC, actor (H = 4)", lambda: maac.agent.update_actor(batch)),
            Workload("ensemble, gradient step", lambda: fitter._descend(x[rows], y[rows])),
        ],
        [Workload("STEVE targets", targets), Workload("STEVE targets, bfloat16", in_bfloat16(targets))],
        [
            Workload("rollout of 100,000 states", rollout, STATES),
            Workload("rollout of 100,000 states, bfloat16", in_bfloat16(rollout), STATES),
        ],
    ]


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def in_turn(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each function, `repeats` times, one after the other."""
    for _ in range(WARM_UP):
        for function in functions.values():
            function()
    rounds = [{name: milliseconds(function) for name, function in functions.items()} for _ in range(repeats)]
    return {name: [times[name] for times in rounds] for name in functions}


def ratio(times: list[float], others: list[float]) -> float:
    """The median of the ratios of what was timed in the same round."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def measure(group: list[Workload], repeats: int) -> list[dict[str, Any]]:
    """One row for each workload."""
    factors = torch.randn(2, 256, 256)
    out = torch.empty(256, 256)

    def rate() -> None:
        for _ in range(20):
            torch.mm(factors[0], factors[1], out=out)

    functions: dict[str, Callable[[], object]] = {"rate": rate}
    flops: dict[str, int] = {}
    for load in group:
        load.run()  # what is made once, an optimiser's state, is not counted
        with FlopCounterMode(display=False) as counter:
            load.run()
        flops[load.name] = counter.get_total_flops()
        with Products() as products:
            load.run()
        functions |= {load.name: load.run, f"{load.name}: floor": products}
    times = in_turn(functions, repeats)
    gflops = 20 * 2 * 256**3 / statistics.median(times["rate"]) / 1e6
    rows = []
    for load in group:
        own, floor = times[load.name], times[f"{load.name}: floor"]
        row: dict[str, Any] = {"what": load.name, "ms": round(statistics.median(own), 2)}
        row |= {"mflop": round(flops[load.name] / 1e6), "floor_ms": round(statistics.median(floor), 2)}
        row |= {"ratio_to_floor": round(ratio(own, floor), 3), "gflops_256": round(gflops)}
        row |= {"ms_at_that_rate": round(flops[load.name] / gflops / 1e6, 2)}
        row |= {"ratio_to_sb3": round(ratio(own, times[PEER]), 3) if PEER in times else ""}
        row |= {"states_per_s": round(1e3 * load.states / statistics.median(own)) if load.states else ""}
        rows.append(row)
    return rows


def profiled(load: Workload, repeats: int = 20) -> list[dict[str, Any]]:
    """The operations with the most time of their own, in milliseconds and calls of one run."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(repeats):
            load.run()
    events = sorted(found.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "what": load.name,
            "operation": event.key,
            "ms": round(event.self_cpu_time_total / repeats / 1e3, 3),
            "share": round(event.self_cpu_time_total / total, 3),
            "calls": round(event.count / repeats, 1),
        }
        for event in events[:OPERATIONS]
    ]


def main(words: list[str]) -> None:
    given = {"threads": 1, "repeats": 60, **parse_words(words)}
    torch.set_num_threads(given["threads"])
    circumstances = {"instructions": torch.backends.cpu.get_cpu_capability()}
    circumstances |= {"versions": versions("torch", "stable-baselines3"), "machine": machine()}
    rows, operations = [], []
    with tempfile.TemporaryDirectory() as folder:
        for group in workloads(folder):
            repeats = max(5, given["repeats"] // 10) if group[0].states else given["repeats"]
            for row in measure(group, repeats):
                print(*row.values(), sep="\t", flush=True)
                rows.append({**row, "threads": given["threads"], "repeats": repeats, **circumstances})
            for load in group:
                operations += profiled(load, 20 if not load.states else 2)
    out = Path("docs/results") / f"speed-{given['threads']}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_table(out, rows)
    write_table(out.with_stem(f"speed_profile-{given['threads']}"), operations)


if __name__ == "__main__":
    main(sys.argv[1:])
