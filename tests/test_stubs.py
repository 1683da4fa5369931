"""The stubs in typings/ against the installed packages: every name there exists."""

import ast
import dataclasses
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import diffmaac.physics  # noqa: F401  (imports MJX without what it prints)

TYPINGS = Path(__file__).parents[1] / "typings"


def declared(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """The names that the statements of a module or class declare."""
    for node in body:
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AnnAssign(target=ast.Name(id=name))
                | ast.Assign(targets=[ast.Name(id=name)])
            ):
                yield name, node
            case ast.ImportFrom(names=[ast.alias(name=name, asname=alias)]) if name == alias:
                yield name, node


def missing(owner: object, body: Sequence[ast.stmt], private: dict[str, ast.stmt]) -> Iterator[str]:
    """The names in `body` that `owner` has not. What the stub's own `private` classes declare, their heirs have."""
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    for name, node in declared(body):
        if name in private:
            continue
        if not hasattr(owner, name) and name not in fields:
            yield name
        elif isinstance(node, ast.ClassDef):
            bases = (private.get(ast.unparse(base)) for base in node.bases)
            for part in (node, *bases):
                inside = part.body if isinstance(part, ast.ClassDef) else []
                yield from (f"{name}.{member}" for member in missing(getattr(owner, name), inside, private))


@pytest.mark.parametrize("stub", sorted(TYPINGS.rglob("*.pyi")), ids=lambda stub: str(stub.relative_to(TYPINGS)))
def test_every_name_exists(stub: Path) -> None:
    module = ".".join(stub.relative_to(TYPINGS).with_suffix("").parts).removesuffix(".__init__")
    body = ast.parse(stub.read_text()).body
    private = {name: node for name, node in declared(body) if name.startswith("_")}
    assert not list(missing(importlib.import_module(module), body, private))


def test_a_name_that_does_not_exist_is_told() -> None:
    stub = "class _Base:\n    replace: int\nclass Path(_Base):\n    name: str\n    age: int\ndef open(): ..."
    body = ast.parse(stub).body
    private = {name: node for name, node in declared(body) if name.startswith("_")}
    assert list(missing(importlib.import_module("pathlib"), body, private)) == ["Path.age", "open"]
