"""How exact the true dynamics are: one control step and its gradient against the C engine, model by model.

    python benchmarks/gradients.py [states=256] [models=half_cheetah,hopper,... | runs=RUN,RUN]

The library's locomotion tasks, Gymnasium's other MuJoCo models and a scene of a thrown box and a ball under elliptic
cones, in float64 (`diffmaac.analysis.gradient_check`): states visited under random controls and, for each of `runs`,
under its trained policy. Writes docs/results/gradients.csv, whose other rows it keeps, and the README's table.
"""

import dataclasses
import sys
from pathlib import Path

import gymnasium
import mujoco

import diffmaac
from diffmaac.analysis.gradient_check import GradientCheck, States, check_gradient, policy_controls, visited_states
from diffmaac.analysis.record import machine, read_table, versions, write_between, write_table
from diffmaac.config import parse_words

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.engine import BOX_AND_BALL, thrown_states

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
RESULTS = Path("docs/results/gradients.csv")
README, MARKERS = Path("README.md"), ("<!-- gradients -->", "<!-- /gradients -->")
FRAME_SKIPS = {
    "half_cheetah": 5,
    "hopper": 4,
    "walker2d_v5": 4,
    "ant": 5,
    "inverted_pendulum": 2,
    "inverted_double_pendulum": 5,
    "reacher": 2,
    "swimmer": 4,
    "pusher_v5": 5,
    "humanoid": 5,
}
"""Gymnasium's files, and time steps in a control step of its environments."""
SCENE = "box_and_ball"
EPISODE = 500
"""Control steps between two starts of a trained policy."""


def load(name: str) -> tuple[mujoco.MjModel, int]:
    if name == SCENE:
        return mujoco.MjModel.from_xml_string(BOX_AND_BALL.format(integrator="implicitfast", condim=4)), 2
    return mujoco.MjModel.from_xml_path(str(ASSETS / f"{name}.xml")), FRAME_SKIPS[name]


def under_random_controls(name: str, count: int) -> GradientCheck:
    model, frame_skip = load(name)
    if name == SCENE:
        states = States(*thrown_states(model, count), constrained=count)
    else:
        states = visited_states(model, frame_skip, count)
    return check_gradient(model, frame_skip, states)


def under_trained_policy(run: str, count: int) -> tuple[str, GradientCheck]:
    agent = diffmaac.load(run)
    system = agent.task.system
    assert isinstance(system, diffmaac.MujocoSystem)
    controls = policy_controls(agent.act, system)
    states = visited_states(system.model, system.frame_skip, count, controls, episode=EPISODE)
    return agent.task.name, check_gradient(system.model, system.frame_skip, states)


def row(model: str, behaviour: str, check: GradientCheck) -> dict[str, object]:
    numbers = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in dataclasses.asdict(check).items()}
    print(model, behaviour, *(f"{name}={value}" for name, value in numbers.items()), flush=True)
    return {
        "model": model,
        "behaviour": behaviour,
        **numbers,
        "right": check.right,
        "versions": versions("mujoco", "mujoco-mjx", "jax"),
        "machine": machine(),
        "command": " ".join(["python", *sys.argv]),
    }


def keep(new: dict[str, object]) -> None:
    """Puts the row into the file in place of the one of the same model and behaviour."""
    rows: list[dict] = []
    if RESULTS.is_file():
        rows = [old for old in read_table(RESULTS) if old.keys() == new.keys()]
    rows = [old for old in rows if (old["model"], old["behaviour"]) != (new["model"], new["behaviour"])]
    write_table(RESULTS, [*rows, new])


def show_table() -> None:
    """The file's rows as the README's table."""
    lines = [
        "| model | states from | constrained | one step, at most | off | gradient, median | p99 | on a kink | NaN |",
        "|" + "---|" * 9,
    ]
    for r in read_table(RESULTS):
        states = f"{r['constrained']} of {r['states']}"
        cells = (r["model"], r["behaviour"], states, r["step_max"], r["steps_off"])
        lines.append("| " + " | ".join((*cells, r["vjp_median"], r["vjp_p99"], r["kinks"], r["nan"])) + " |")
    write_between(README, MARKERS, "\n".join(lines))


def main() -> None:
    given = parse_words(sys.argv[1:])
    everything = "" if "runs" in given else ",".join([*FRAME_SKIPS, SCENE])
    settings = {"states": 256, "models": everything, "runs": "", **given}
    for name in filter(None, settings["models"].split(",")):
        keep(row(name, "random controls", under_random_controls(name, settings["states"])))
    for run in filter(None, settings["runs"].split(",")):
        name, check = under_trained_policy(run, settings["states"])
        keep(row(name, "trained policy", check))
    show_table()


if __name__ == "__main__":
    main()
