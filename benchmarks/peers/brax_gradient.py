"""The gradient of brax's own physics: what `gradient_peers.py` runs with the interpreter of brax's own environment.

    PEER/bin/python benchmarks/peers/brax_gradient.py AMOUNTS

AMOUNTS is a mapping in JSON: env, backend, states, repeats. The last line printed is JSON: milliseconds of one control
step forward and backward, errors of the gradient against central differences of the same physics, versions.
"""

import importlib.metadata
import json
import statistics
import sys
import time
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DIFFERENCE = 1e-6


def main(amounts: dict[str, Any]) -> dict[str, Any]:
    """Measures at states that random actions visit, in float64."""
    jax.config.update("jax_enable_x64", True)
    env: Any = import_module("brax.envs").get_environment(amounts["env"], backend=amounts["backend"])
    rng = np.random.default_rng(0)

    def step(q: Any, qd: Any, action: Any) -> Any:
        after = env.pipeline_step(env.pipeline_init(q, qd), action)
        return jnp.concatenate([after.q, after.qd])

    forward = jax.jit(jax.vmap(step))
    start: Any = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), amounts["states"]))
    q, qd = start.pipeline_state.q, start.pipeline_state.qd
    sizes = q.shape[1], env.action_size
    for _ in range(30):
        after = forward(q, qd, rng.uniform(-1, 1, (len(q), sizes[1])))
        q, qd = after[:, : sizes[0]], after[:, sizes[0] :]
    inputs = (q, qd, rng.uniform(-1, 1, (len(q), sizes[1])))

    @jax.jit
    def both(*inputs: Any) -> Any:
        value, pull_back = jax.vjp(jax.vmap(step), *inputs)
        return pull_back(jnp.ones_like(value))

    jax.block_until_ready(both(*inputs))
    times = []
    for _ in range(amounts["repeats"]):
        begin = time.perf_counter()
        jax.block_until_ready(both(*inputs))
        times.append(1e3 * (time.perf_counter() - begin))
    direction = tuple(rng.normal(size=x.shape) for x in inputs)
    sides = [forward(*(x + s * DIFFERENCE * d for x, d in zip(inputs, direction, strict=True))) for s in (1, -1)]
    central = np.asarray((sides[0] - sides[1]).sum(1)) / (2 * DIFFERENCE)
    gradients = [np.asarray(x) for x in both(*inputs)]
    ours = sum((g * d).sum(1) for g, d in zip(gradients, direction, strict=True))
    size = np.linalg.norm(np.concatenate(gradients, axis=1), axis=1)
    errors = np.abs(ours - central) / np.maximum(size, 1e-300)
    found = {name: importlib.metadata.version(name) for name in ("brax", "jax", "mujoco")}
    return {
        "ms": statistics.median(times),
        "median": float(np.nanmedian(errors)),
        "p99": float(np.nanquantile(errors, 0.99)),
        "not_finite": int((~np.isfinite(size)).sum()),
        "seconds_simulated": float(env.dt),
        "versions": " ".join(f"{name} {version}" for name, version in found.items()),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
