"""Updates, a gradient step of the ensemble and imagination: one by one and recorded, in several precisions."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from diffmaac.tasks import get_task, resolve_task
from diffmaac.training.graphed import CudaRecorder, Graphed
from diffmaac.training.trainer import Trainer
from gpu_parts.compiled_sac import compiled
from gpu_parts.table import BATCH, CHEETAH, GpuSettings, Row, Table, milliseconds
from shared.products import Products


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
