"""Imports run downwards: the map in docs/architecture.md is drawn from the code, and start-up is quick."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.imports import LAYERS, ROOT, imported, modules, page, room, rooms

from diffmaac.commands.keywords import keywords_text

MAP = ROOT / "docs" / "architecture.md"
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}


def test_every_room_is_in_one_layer() -> None:
    assert sorted(rooms()) == sorted(HEIGHT)


@pytest.mark.parametrize("name", sorted(HEIGHT))
def test_no_room_imports_upwards(name: str) -> None:
    above = {other for other in rooms()[name] if HEIGHT.get(other, 99) > HEIGHT[name]}
    assert not above, f"{name} imports {above}, which stand above it"


def test_no_module_is_in_a_circle() -> None:
    """Depth first through all modules: one that is met again on its own path is in a circle."""
    graph = {name: {other for other in imported(path) if other != name} for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_dynamics_know_neither_settings_nor_tasks() -> None:
    assert not rooms()["dynamics"] & {"settings", "task", "tasks", "training"}
    assert not rooms()["objectives"] & {"settings", "task", "tasks", "training"}


def test_the_map_in_the_docs_is_that_of_the_code() -> None:
    text = MAP.read_text()
    assert page() in text, f"the map has changed; put this into {MAP.name}:\n\n{page()}"


def test_jax_lives_in_its_rooms() -> None:
    users = {room(name) for name, path in modules().items() if "import jax" in path.read_text()}
    assert users <= {"physics", "bridge"}


def test_the_keywords_for_editors_are_those_of_the_settings() -> None:
    assert (ROOT / "diffmaac" / "keywords.py").read_text() == keywords_text()


HEAVY = ("torch", "jax", "mujoco", "numpy", "matplotlib", "gymnasium", "scipy")
QUICK = {
    "import diffmaac": "import diffmaac",
    "help": "import diffmaac.cli as c; c.main(['train', '--help'])",
    "version": "import diffmaac.cli as c; c.main(['--version'])",
    "a name that does not exist": "import diffmaac.cli as c; c.main(['train', 'env=pendlum'])",
    "a value of another type": "import diffmaac.cli as c; c.main(['gradient-error', 'env=x', 'horizons=a'])",
    "settings that contradict": "import diffmaac.cli as c; c.main(['train', 'algorithm=sac', 'horizon=2'])",
    "settings that the task's own bind": "import diffmaac.cli as c; c.main(['train', 'actor_batch_size=300'])",
}


@pytest.mark.parametrize("case", QUICK)
def test_answers_that_need_no_torch_load_none(case: str, tmp_path: Path) -> None:
    program = f"import sys\ntry:\n    {QUICK[case]}\nexcept SystemExit: pass\n"
    program += f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "[]"
