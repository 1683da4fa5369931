"""Updates and rollouts against their own arithmetic, and SAC's update against stable-baselines3's.

    OMP_NUM_THREADS=1 python benchmarks/update_speed.py [threads=1] [repeats=60]        rollouts a tenth as often

half_cheetah sizes, networks 256 x 256, batch 256, 8 members of 4 x 200, STEVE horizon 2, float32. For each workload:
the floating-point operations of its matrix products, counted by torch; the time of those very products alone, replayed
with the shapes and strides that they had (the floor); what they would take at the rate of a 256^3 product. Workload,
floor and rate are timed in turn, so that a change in load meets all; medians. Needs the extra `dev`.

Writes speed-<threads>.csv, and what torch's profiler says of each workload, the operations that take most of its time,
to speed_profile-<threads>.csv. The profiler keeps memory of its own, so that what is allocated is new memory more
often, whose first use (`threshold_backward` of a product) is slow: there, not in the update itself.
"""

import statistics
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from diffmaac.rollout import imagine
from diffmaac.session import prepare
from diffmaac.settings import setting
from diffmaac.training.trainer import Trainer
from shared import script
from shared.products import Products
from shared.timing import Function, in_turn

BATCH, STATES, WARM_UP, OPERATIONS = 256, 100_000, 5, 12
CUBE, CUBES = 256, 20
"""The product whose rate is the machine's, and how many of them are timed at once."""
SAC_PEER = "SAC update: stable-baselines3"
Row = dict[str, Any]


@dataclass(frozen=True)
class UpdateSpeedSettings:
    """What is timed, and how often."""

    threads: int = setting(1, "torch's threads", 1)
    repeats: int = setting(60, "rounds of which the median counts; of rollouts a tenth, but five at least", 1)
    out: str = setting(script.RESULTS, "directory of the tables")


@dataclass(frozen=True)
class Workload:
    """What is timed, and how many states it moves (of a rollout, for a rate)."""

    name: str
    run: Function
    states: int = 0


def trainer_of(algorithm: str, folder: str) -> Trainer:
    """A trainer with a thousand transitions of random actions and, where it has dynamics, as many imagined ones."""
    settings = {"algorithm": algorithm, "preset": "paper", "samples": 1, "random_steps": 1000}
    trainer = prepare("half_cheetah", {**settings, "imagined_states": 1000, "out": f"{folder}/{algorithm}"})
    for _ in range(1000):
        trainer._collect()
    if trainer.dynamics is not None:
        trainer.experience.imagine(trainer.step)
    return trainer


def peer(trainer: Trainer) -> SAC:
    """stable-baselines3's SAC at its defaults (256 x 256, batch 256), filled with the same number of transitions."""
    model = SAC("MlpPolicy", trainer.task.make_env(), learning_starts=999, batch_size=BATCH, device="cpu")
    model.learn(1000)
    model.set_logger(Logger(None, []))
    return model


def in_bfloat16(function: Function) -> Function:
    """The same, its matrix products in bfloat16."""

    def wrapped() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return function()

    return wrapped


def workloads(folder: str) -> list[list[Workload]]:
    """In groups that are timed in turn: a group with the models would sweep the caches before every SAC update."""
    sac, maac = trainer_of("sac", folder), trainer_of("maac", folder)
    generator = torch.Generator().manual_seed(0)
    theirs, batch = peer(sac), maac.experience.sample(BATCH)
    fit = ensemble_step(maac, generator)
    targets, rollout = (lambda: maac.agent._critic_target(batch)), rollout_of(maac, generator)
    single, half = torch.randn(2, CUBE, CUBE), torch.randn(2, CUBE, CUBE).bfloat16()
    return [
        [
            Workload("product of 256^3, float32", lambda: single[0] @ single[1]),
            Workload("product of 256^3, bfloat16", lambda: half[0] @ half[1]),
        ],
        [Workload(SAC_PEER, lambda: theirs.train(1, BATCH)), Workload("SAC update", lambda: sac._update(0))],
        [
            Workload("MAAC update", lambda: maac._update(0)),
            Workload("MAAC, critics", lambda: maac.agent.update_critic(batch)),
            Workload("MAAC, actor (H = 4)", lambda: maac.agent.update_actor(batch)),
            Workload("ensemble, gradient step", fit),
        ],
        [Workload("STEVE targets", targets), Workload("STEVE targets, bfloat16", in_bfloat16(targets))],
        [
            Workload("rollout of 100,000 states", rollout, STATES),
            Workload("rollout of 100,000 states, bfloat16", in_bfloat16(rollout), STATES),
        ],
    ]


def ensemble_step(trainer: Trainer, generator: torch.Generator) -> Function:
    """One gradient step of the ensemble on the real transitions."""
    fitter, real = trainer.fitter, trainer.experience.real.all()
    assert fitter is not None
    network = fitter.network
    x, y = torch.cat([real.obs_t, real.action_t], -1), real.obs_tp1 - real.obs_t
    network.fit_normaliser(x, y)
    rows = torch.randint(len(x), (network.members, BATCH), generator=generator)
    return lambda: fitter._descend(x[rows], y[rows])


def rollout_of(trainer: Trainer, generator: torch.Generator) -> Function:
    """One imagined step from each of STATES start states."""
    model, policy = trainer.model, trainer.agent.policy
    assert model is not None
    start = trainer.experience.real.sample(STATES, generator).obs_t
    return lambda: imagine(policy, model, trainer.task, start, 1, 0.99, generator)


def cubes() -> Function:
    """CUBES products of CUBE^3, whose rate is the machine's."""
    factors, out = torch.randn(2, CUBE, CUBE), torch.empty(CUBE, CUBE)

    def call() -> None:
        for _ in range(CUBES):
            torch.mm(factors[0], factors[1], out=out)

    return call


def counted(load: Workload) -> tuple[int, Products]:
    """The floating-point operations of its products, and these products themselves."""
    load.run()  # what is made once, an optimiser's state, is not counted
    with FlopCounterMode(display=False) as counter:
        load.run()
    with Products() as products:
        load.run()
    return counter.get_total_flops(), products


def measure(group: list[Workload], repeats: int) -> list[Row]:
    """One row for each workload of a group."""
    rate = cubes()
    flops, floors = zip(*map(counted, group), strict=True)
    pairs = [function for load, floor in zip(group, floors, strict=True) for function in (load.run, floor)]
    rated, *times = in_turn([rate, *pairs], repeats, WARM_UP)
    gflops = CUBES * 2 * CUBE**3 / statistics.median(rated) / 1e6
    owns, floor_times = times[::2], times[1::2]
    peers = next((own for load, own in zip(group, owns, strict=True) if load.name == SAC_PEER), None)
    rows = []
    for load, flop, own, floor in zip(group, flops, owns, floor_times, strict=True):
        row: Row = {"what": load.name, "ms": round(statistics.median(own), 2)}
        row |= {"mflop": round(flop / 1e6), "floor_ms": round(statistics.median(floor), 2)}
        row |= {"ratio_to_floor": round(ratio(own, floor), 3), "gflops_256": round(gflops)}
        row |= {"ms_at_that_rate": round(flop / gflops / 1e6, 2)}
        row |= {"ratio_to_sb3": round(ratio(own, peers), 3) if peers else ""}
        row |= {"states_per_s": round(1e3 * load.states / statistics.median(own)) if load.states else ""}
        rows.append(row)
    return rows


def ratio(times: list[float], others: list[float]) -> float:
    """The median of the ratios of what was timed in the same round."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def profiled(load: Workload) -> list[Row]:
    """The operations with the most time of their own, in milliseconds and calls of one run."""
    repeats = 2 if load.states else 20
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            load.run()
    events = sorted(profiler.key_averages(), key=lambda event: event.self_cpu_time_total, reverse=True)
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


def main(settings: UpdateSpeedSettings) -> None:
    torch.set_num_threads(settings.threads)
    table = script.output(settings.out, f"speed-{settings.threads}.csv")
    rows, operations = [], []
    with tempfile.TemporaryDirectory() as folder:
        for group in workloads(folder):
            repeats = max(5, settings.repeats // 10) if group[0].states else settings.repeats
            for row in measure(group, repeats):
                script.show(row)
                rows.append({**row, "threads": settings.threads, "repeats": repeats})
            for load in group:
                operations += profiled(load)
    where = {"instructions": torch.backends.cpu.get_cpu_capability()}
    script.write(table, rows, where, script.provenance("torch", "stable-baselines3"))
    script.write(table.with_stem(f"speed_profile-{settings.threads}"), operations)


if __name__ == "__main__":
    script.run(main, UpdateSpeedSettings)
