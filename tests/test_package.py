"""What is published: wheel and sdist hold what they should, and the wheel works where nothing else of us is."""

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.metadata import Metadata
from support.runs import TINY

import diffmaac

ROOT = Path(__file__).parent.parent


def run(command: Sequence[str | Path], folder: Path, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env={**clean, **env}, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


def test_the_wheel_holds_the_library_and_its_tasks_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "diffmaac",
        "diffmaac_envs",
        f"diffmaac-{diffmaac.__version__}.dist-info",
    }
    assert {Path(name).name for name in names if name.endswith(".xml")} >= {"pendulum.xml", "cartpole.xml"}
    assert {"diffmaac/py.typed", "diffmaac_envs/py.typed"} <= set(names)
    assert wheel.stat().st_size < 1_000_000


def test_the_sdist_holds_no_test_and_no_result(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"diffmaac", "envs", "examples", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"} <= folders
    assert not {"tests", "docs", "benchmarks", "site"} & folders and file.stat().st_size < 1_000_000


def test_metadata_are_those_that_an_index_accepts(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name)
    metadata = Metadata.from_email(text, validate=True)
    assert metadata.name == "diffmaac" and str(metadata.version) == diffmaac.__version__
    assert metadata.license_expression == "MIT" and metadata.description_content_type == "text/markdown"
    assert set(metadata.project_urls or {}) == {"Repository", "Documentation", "Issues", "Changelog"}
    assert {"all", "cuda", "dev", "docs", "gymnasium", "video"} <= set(metadata.provides_extra or [])
    description = str(email.message_from_bytes(text).get_payload())
    assert description.startswith("# diffmaac")
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", description)
    assert len(links) > 15 and all(link.startswith("https://") for _, link in links), "an index knows no other files"
    ours = [(bool(picture), link) for picture, link in links if link.startswith(repository)]
    assert {picture for picture, _ in ours} == {True, False}
    for picture, link in ours:
        start = f"{repository}/{'raw' if picture else 'blob'}/v{diffmaac.__version__}/"
        assert link.startswith(start) and (ROOT / link.removeprefix(start).partition("#")[0]).exists(), link


def test_versions_agree() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == diffmaac.__version__
    assert f"version: {diffmaac.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {diffmaac.__version__}" in (ROOT / "docs" / "release-notes.md").read_text()


TRAINING = """
import diffmaac, sys
from pathlib import Path

assert Path(diffmaac.__file__).is_relative_to(sys.prefix), diffmaac.__file__
assert "half_cheetah" in diffmaac.tasks.task_names()
run = diffmaac.train(**{settings!r}, out="run", progress=False)
assert run.figure.is_file()
"""


def works(python: Path, folder: Path) -> None:
    """The installed library answers, knows its tasks, and trains; it is not the one in this repository."""
    assert run([python.parent / "diffmaac", "--version"], folder).strip() == f"diffmaac {diffmaac.__version__}"
    program = TRAINING.format(settings={"env": "pendulum", **TINY})
    run([python, "-c", f"import diffmaac.tasks\n{program}"], folder, OMP_NUM_THREADS="1")


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment, lent by a path; our own code is not on it."""
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--disable-pip-version-check", wheel], tmp_path)
    where = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path).strip()
    (Path(where) / "lent.pth").write_text(sysconfig.get_path("purelib"))
    works(python, tmp_path)


def test_the_container_gets_all_that_the_wheel_is_built_from(wheel: Path, tmp_path: Path) -> None:
    """The files that the Dockerfile copies make the same wheel; no daemon is needed to see that."""
    context = tmp_path / "context"
    context.mkdir()
    for files in re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M):
        for name in files.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, context / name)
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], context)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as here, zipfile.ZipFile(wheel) as there:
        assert sorted(here.namelist()) == sorted(there.namelist())


def lower_bounds() -> Any:
    spec = importlib.util.spec_from_file_location("lower_bounds", ROOT / ".ci" / "lower_bounds.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_a_lower_bound() -> None:
    """`make lower-bounds` installs these and trains with them; that takes minutes and a network."""
    oldest = lower_bounds().requirements()
    assert "typer==0.16" in oldest and "mujoco==3.17" in oldest and len(oldest) >= 15


@pytest.mark.parametrize("requirement", ["torch", "torch<3", "torch==2.8"])
def test_a_dependency_without_a_lower_bound_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="has no lower bound"):
        lower_bounds().oldest(requirement)


def test_workflows_and_templates_are_yaml() -> None:
    files = sorted((ROOT / ".github").rglob("*.yml"))
    assert len(files) >= 6
    for file in files:
        content = yaml.safe_load(file.read_text())
        assert "name" in content and ("jobs" in content or "body" in content)


@pytest.mark.slow
def test_the_wheel_installs_with_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    """From a package index: needs a network, and downloads PyTorch."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", f"{wheel}[all]"], tmp_path)
    works(python, tmp_path)
