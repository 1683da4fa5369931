"""The gradient of a control step beside those of others: MuJoCo's `mjd_transitionFD`, MJX unrolled, brax.

    python benchmarks/gradient_peers.py [states=256] [threads=2] [peer=PEER/bin/python]

One control step of half_cheetah and of ant, forward and backward, float64, at states visited under random controls.
Errors are relative: of the step against the C engine's, of the gradient against central differences of the C engine off
the kinks. brax has a physics of its own, whose gradient is compared with its own differences; it is measured where
`peer` is an interpreter of an environment that has it. Writes gradient_peers.csv.
"""

import functools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch

from diffmaac import DifferentiablePhysics
from diffmaac.analysis.physics_check import States, differences, visited_states
from diffmaac.errors import SettingError
from diffmaac.physics import Engine, UnrolledGradient
from diffmaac.physics.tangent import TangentSpace
from diffmaac.provenance import machine
from diffmaac.settings import setting
from shared import script
from shared.timing import medians

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
FRAME_SKIP = 5
MODELS = {"half_cheetah": "halfcheetah", "ant": "ant"}
"""Ours -> brax's."""
BACKENDS = ("spring", "positional")
PEER = Path(__file__).parent / "peers" / "brax_gradient.py"
TRANSITION_DIFFERENCE = 1e-6
Gradients = tuple[np.ndarray, ...]
"""With respect to the position in the tangent space, the velocity and the control; the next qpos and qvel."""


@dataclass(frozen=True)
class PeersSettings:
    """At how many states, how often, and where brax is."""

    states: int = setting(256, "states of a batch", 1)
    threads: int = setting(2, "torch threads", 1)
    repeats: int = setting(7, "times that each is timed", 1)
    peer: str = setting("", "interpreter of an environment with brax; empty: without brax")
    out: str = setting(script.RESULTS, "directory of gradient_peers.csv")


def ours(gradient: Any, model: mujoco.MjModel, states: States) -> Callable[[], Gradients]:
    """`DifferentiablePhysics` with that gradient."""
    step, tangent = DifferentiablePhysics(model, FRAME_SKIP, gradient), TangentSpace(model)

    def run() -> Gradients:
        qpos, qvel, act, ctrl = (torch.from_numpy(x).requires_grad_() for x in states.inputs)
        after = step(qpos, qvel, ctrl, act)[:2]
        gradients = torch.autograd.grad(after, (qpos, qvel, ctrl), [torch.ones_like(x) for x in after])
        slopes = [x.numpy() for x in gradients]
        values = [x.detach().numpy() for x in after]
        return tangent.project(states.qpos, slopes[0]), *slopes[1:], *values

    return run


def transition(model: mujoco.MjModel, states: States) -> Callable[[], Gradients]:
    """MuJoCo's own centred differences of each time step, in one thread, chained backwards."""
    data, tangent, nv, nu = mujoco.MjData(model), TangentSpace(model), model.nv, model.nu
    size = 2 * nv + model.na
    matrices = [(np.zeros((size, size)), np.zeros((size, nu))) for _ in range(FRAME_SKIP)]

    def run() -> Gradients:
        outputs: list[list[np.ndarray]] = []
        for qpos, qvel, act, ctrl in zip(*states.inputs, strict=True):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:], data.act[:], data.ctrl[:] = qpos, qvel, act, ctrl
            for of_state, of_control in matrices:
                mujoco.mjd_transitionFD(model, data, TRANSITION_DIFFERENCE, True, of_state, of_control, None, None)
                mujoco.mj_step(model, data)
            gradient = np.concatenate([tangent.project(data.qpos[None], np.ones((1, model.nq)))[0], np.ones(nv)])
            to_control = np.zeros(nu)
            for of_state, of_control in reversed(matrices):
                to_control += gradient @ of_control
                gradient = gradient @ of_state
            outputs.append([gradient[:nv], gradient[nv:], to_control, data.qpos.copy(), data.qvel.copy()])
        return tuple(np.stack(column) for column in zip(*outputs, strict=True))

    return run


def brax(settings: PeersSettings, env: str, backend: str) -> dict[str, Any]:
    """What brax's physics takes, under the interpreter `peer`. Raises SettingError where it cannot be run."""
    amounts = {"env": env, "backend": backend, "states": settings.states, "repeats": settings.repeats}
    try:
        done = subprocess.run(
            [settings.peer, str(PEER), json.dumps(amounts)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SettingError(f"peer={settings.peer}: {PEER.name} failed ({error}). Does it have brax?") from error
    return json.loads(done.stdout.splitlines()[-1])


def measured(settings: PeersSettings) -> Iterator[dict[str, Any]]:
    """A row for each model and gradient."""
    for name, theirs in MODELS.items():
        model = mujoco.MjModel.from_xml_path(str(ASSETS / f"{name}.xml"))
        states = visited_states(model, FRAME_SKIP, settings.states)
        expected = np.concatenate(Engine(model, FRAME_SKIP).step(*states.inputs)[:2], axis=1)
        cotangents = tuple(np.ones_like(x) for x in states.inputs[:3])
        central, kink = differences(model, FRAME_SKIP, states.inputs, cotangents)
        kinds: dict[str, Callable[[], Gradients]] = {
            f"diffmaac, {kind}": ours(kind, model, states) for kind in ("engine", "implicit", "finite_difference")
        }
        kinds["MJX, 1 iteration unrolled"] = ours(UnrolledGradient(1), model, states)
        if model.opt.integrator != int(mujoco.mjtIntegrator.mjINT_RK4):  # which it refuses
            kinds["MuJoCo, mjd_transitionFD"] = transition(model, states)
        times = medians([functools.partial(run) for run in kinds.values()], settings.repeats, warm_up=3)
        for (kind, run), ms in zip(kinds.items(), times, strict=True):
            result = run()
            slopes, values = np.concatenate(result[:3], axis=1), np.concatenate(result[3:], axis=1)
            errors = (np.linalg.norm(slopes - central, axis=1) / np.linalg.norm(central, axis=1))[~kink]
            median, p99 = np.quantile(errors, [0.5, 0.99])
            yield {
                "model": name,
                "gradient": kind,
                "ms": f"{ms:.3g}",
                "step_error": f"{np.abs(values - expected).max():.1e}",
                "median": f"{median:.1e}",
                "p99": f"{p99:.1e}",
                "seconds_simulated": FRAME_SKIP * model.opt.timestep,
            }
        for backend in BACKENDS if settings.peer else ():
            row = brax(settings, theirs, backend)
            numbers = {"ms": f"{row['ms']:.3g}", "step_error": "", "median": f"{row['median']:.1e}"}
            numbers |= {"p99": f"{row['p99']:.1e}", "seconds_simulated": row["seconds_simulated"]}
            yield {"model": name, "gradient": f"brax, {backend}", **numbers, "versions": row["versions"]}


def main(settings: PeersSettings) -> None:
    torch.set_num_threads(settings.threads)
    file, common, rows = script.output(settings.out, "gradient_peers.csv"), script.provenance("mujoco", "jax"), []
    for row in measured(settings):
        script.show(row)
        rows.append({**common, **row} | {"machine": machine()})
        ordered = [*row, *(name for name in common if name not in row)]
        script.write(file, [{name: one.get(name, "") for name in ordered} for one in rows])


if __name__ == "__main__":
    script.run(main, PeersSettings)
