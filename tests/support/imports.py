"""What imports what, read from the source: packages of the library, in layers."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LIBRARY = ROOT / "diffmaac"
LAYERS = [
    ["errors", "keywords", "result", "mujoco_warnings", "provenance", "files", "seeding", "typed", "types", "finite"],
    ["repeating"],
    ["settings", "physics"],
    ["system", "render"],
    ["env"],
    ["foreign"],
    ["task"],
    ["tasks"],
    ["registration"],
    ["nn", "autograd", "bridge"],
    ["differentiable"],
    ["dynamics", "identification"],
    ["objectives", "replay", "rollout"],
    ["algorithms", "planning"],
    ["runs"],
    ["training"],
    ["analysis"],
    ["experiments"],
    ["session"],
    ["commands"],
    ["cli"],
]
"""Rooms of the library from the bottom to the top; those of one layer may import each other, without circles."""
ABOVE = {"diffmaac"}
"""`diffmaac/__init__.py` hands out the public names of every layer."""


@cache
def modules() -> dict[str, Path]:
    """Name -> file, of every module of the library but its front door."""
    files = (path for path in LIBRARY.rglob("*.py") if path != LIBRARY / "__init__.py")
    return {_name(path): path for path in files}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Every module of the library that a file imports, also within functions and for type checkers alone."""
    known = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("diffmaac", "diffmaac_envs")
        ):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in ("diffmaac", "diffmaac_envs"))


def room(module: str) -> str:
    """The package or top module that a module is in: diffmaac.analysis.plots -> analysis."""
    return module.split(".")[1] if "." in module else module


@cache
def rooms() -> dict[str, set[str]]:
    """Room -> the other rooms that it imports."""
    graph: dict[str, set[str]] = {}
    for name, path in modules().items():
        graph.setdefault(room(name), set()).update({room(other) for other in imported(path)} - {room(name)})
    return graph


def page() -> str:
    """The map as Markdown, from the top to the bottom."""
    graph = rooms()
    lines = ["| room | what it is | imports |", "|---|---|---|"]
    for layer in reversed(LAYERS):
        for name in layer:
            order = [other for below in LAYERS for other in below if other in graph[name]]
            lines.append(f"| `{name}` | {_summary(name)} | {', '.join(order) or '-'} |")
    return "\n".join(lines)


def _summary(name: str) -> str:
    """The first sentence of a room's docstring."""
    file = LIBRARY / name / "__init__.py"
    text = ast.get_docstring(ast.parse((file if file.is_file() else LIBRARY / f"{name}.py").read_text())) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".").replace("|", "\\|")
