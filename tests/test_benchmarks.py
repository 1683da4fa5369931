"""The scripts that measure are listed where they are explained, and each stands alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INQUIRIES = ROOT / "docs" / "results" / "inquiries"
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *INQUIRIES.glob("*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_explained_and_imports_no_other(script: Path) -> None:
    assert script.name in (script.parent / "README.md").read_text()
    tree = ast.parse(script.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {path.stem for path in SCRIPTS} and "sys.path" not in script.read_text()
    if script.parent == INQUIRIES:
        assert "shared" not in {name.partition(".")[0] for name in imported}
