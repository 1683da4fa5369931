"""How exact the true dynamics are, in float64: one control step and its vector-Jacobian product against the C engine.

    python benchmarks/gradients.py [states]

States in contact under random controls, as in tests/test_physics.py, whose measuring functions these are. Central
differences of the C engine with step 1e-6. Writes docs/results/gradients.csv.
"""

import csv
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

import mujoco
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from test_physics import ASSETS, MODELS, c_engine, case_inputs, contact_states, make_case, relative_errors


def measure(name: str, count: int) -> dict[str, object]:
    file, frame_skip = MODELS[name]
    model = mujoco.MjModel.from_xml_path(str(ASSETS / file))
    start = time.perf_counter()
    case = make_case(model, frame_skip, contact_states(model, frame_skip, count))
    seconds = time.perf_counter() - start
    qpos, qvel, _ = (np.abs(a - b) for a, b in zip(case.outputs, c_engine(*case_inputs(case)), strict=True))
    errors = relative_errors(case)
    return {
        "model": name,
        "states": count,
        "qpos_max_error": f"{qpos.max():.1e}",
        "qvel_max_error": f"{qvel.max():.1e}",
        "states_off_by_1e-10": int((np.maximum(qpos.max(1), qvel.max(1)) > 1e-10).sum()),
        "vjp_median": f"{np.median(errors):.1e}",
        "vjp_p99": f"{np.quantile(errors, 0.99):.1e}",
        "vjp_max": f"{errors.max():.1e}",
        "nan": sum(int(np.isnan(g).sum()) for g in case.gradients),
        "compile_and_run_s": round(seconds),
        "versions": " ".join(f"{p}=={importlib.metadata.version(p)}" for p in ("mujoco", "mujoco-mjx", "jax")),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "command": " ".join(["python", *sys.argv]),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    rows = [measure(name, count) for name in MODELS]
    with Path("docs/results/gradients.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*list(row.values())[:10], sep="\t")


if __name__ == "__main__":
    main()
