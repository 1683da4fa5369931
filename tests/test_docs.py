"""README and site: snippets run, commands are accepted, numbers come from tables, and pages say what they give."""

import ast
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pytest
import site_notebooks
import yaml
from mkdocs.exceptions import PluginError
from PIL import Image, ImageSequence
from support.runs import TINY

import diffmaac
import site_checks
import site_clips
import site_hook
import site_measures
import site_numbers
import site_reference
from diffmaac.errors import TaskError
from diffmaac.experiments.grid import check_size, grid_of, space_of, split
from diffmaac.settings import check_resumable, convert, fields_of, parse_words
from diffmaac.tasks import check_settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    path
    for path in sorted(DOCS.rglob("*.md"))
    if not re.match(r"results/(runs|longer|figure|table)", str(path.relative_to(DOCS)))
]
README = ROOT / "README.md"
SMALL: dict[str, Any] = {name: value for name, value in TINY.items() if name != "members"}
"""Settings at which a snippet trains in seconds."""
README_SMALLER = {"steps=3000": "**SMALL", "steps=2000": "**SMALL"}
PYTHON, SHELL = re.compile(r"^( *)```python\n(.*?)^ *```", re.M | re.S), re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parts(path: Path) -> tuple[dict[str, Any], str]:
    """The front matter of a page, and the rest."""
    text = path.read_text()
    if not text.startswith("---\n"):
        return {}, text
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def python_blocks(text: str) -> list[str]:
    return [inspect.cleandoc("\n" + code) for _, code in PYTHON.findall(text)]


TUTORIALS = [page for page in sorted((DOCS / "tutorials").glob("*.md")) if page.stem != "index"]


@pytest.mark.parametrize("page", [README, *TUTORIALS], ids=identity)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its Python, one block after the other, at the size that its head says."""
    head, text = parts(page)
    blocks = python_blocks(text)
    smaller = README_SMALLER if page == README else head["smaller"]
    for large, small in smaller.items():
        assert any(large in block for block in blocks), f"{large} is not in the page"
        blocks = [block.replace(large, small) for block in blocks]
    monkeypatch.chdir(tmp_path)
    if head.get("alone"):  # it starts processes by a fork, which a process that has used JAX must not
        program = "\n".join([f"SMALL = {SMALL!r}", *blocks])
        subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
        return
    names: dict[str, Any] = {"SMALL": SMALL}
    for block in blocks:
        exec(compile(block, identity(page), "exec"), names)


@pytest.mark.parametrize("page", TUTORIALS, ids=identity)
def test_a_tutorial_is_a_notebook(page: Path, tmp_path: Path) -> None:
    """Of the same Python, block by block, with its text between and no link into the site."""
    _, text = parts(page)
    site_notebooks.write(site_hook.fill(text), tmp_path / "a" / "b.ipynb")
    made = nbformat.read(tmp_path / "a" / "b.ipynb", as_version=4)
    nbformat.validate(made)
    assert [cell.source for cell in made.cells if cell.cell_type == "code"] == python_blocks(text)
    words = "\n".join(cell.source for cell in made.cells if cell.cell_type == "markdown")
    assert re.search("^# ", words, re.M) and "](../" not in words and "[[[" not in words


@pytest.mark.parametrize("page", [README, *PAGES], ids=identity)
def test_python_on_a_page_parses(page: Path) -> None:
    for block in python_blocks(page.read_text()):
        ast.parse(block)


def commands(page: Path) -> list[list[str]]:
    """The words of each `diffmaac ...` line in code of a page."""
    text = page.read_text()
    blocks = SHELL.findall(text) if page != README else re.findall(r"(?:^    .*\n)+", text, re.M)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("diffmaac ")]


@pytest.mark.parametrize("page", [README, *PAGES], ids=identity)
def test_commands_on_a_page_are_accepted(page: Path) -> None:
    for command, *words in commands(page):
        if command == "--version":
            continue
        assert command in site_reference.COMMANDS, command
        words = words[: words.index(">")] if ">" in words else words
        given = parse_words(word for word in words if re.match(r"\w+=", word))
        _, settings = site_reference.COMMANDS[command]
        if command == "sweep":
            accept_sweep({name: value for name, value in given.items() if name != "config"})
        elif settings is not None:
            convert(given, fields_of(settings))
        elif command == "train":
            accept_training({name: v for name, v in given.items() if name not in ("dry_run", "quiet", "config")})


def accept_sweep(given: dict[str, Any]) -> None:
    own, rest = split(given)
    if own.search == "optuna":
        space_of(rest)
    elif rest:
        check_size(grid_of(rest), own.yes)


def accept_training(given: dict[str, Any]) -> None:
    if "resume" in given:
        check_resumable(given)
        return
    try:
        check_settings(given)
    except TaskError as error:  # an environment of the reader's own
        assert "my_package" in str(error) or "my_package" in given["env"]


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_a_page_begins_with_what_it_gives(page: Path) -> None:
    """A title, then a paragraph in words: neither a list nor code nor a figure."""
    _, text = parts(page)
    title, paragraph, *_ = [block.strip() for block in text.strip().split("\n\n")]
    assert re.fullmatch(r"# .+", title)
    assert len(paragraph) > 60 and not paragraph.startswith(("#", "-", "|", "`", "!", "    ", "[[["))


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_a_page_is_filled(page: Path) -> None:
    _, text = parts(page)
    filled = site_hook.set_formulas(site_hook.fill(text))
    assert "[[[" not in filled.replace("[[[[", "") and "$$" not in filled


RESULTS = [path for path in PAGES if path.parent.name in ("results", "inquiries")]
COUNTED = r"(?! (?:environment |learning |other )?(?:steps|start states|transitions))"
MEASURED = re.compile(rf"(?<![\w.=/-])-?\d+\.\d+(?![\w-])|(?<![\w,.=/-])\d{{1,3}},\d{{3}}{COUNTED}")
"""A decimal fraction, or a number of thousands that counts no steps or states."""
WORDS = "0.02 0.05 0.1 0.2 0.99 0.995 4.1 1,000 1,280 2,000 10,000 20,000 27,000 42,000 50,000 400,000"
"""Settings, titles and scales, not measurements."""


@pytest.mark.parametrize("page", RESULTS, ids=identity)
def test_no_measured_number_is_typed(page: Path) -> None:
    """What is in code, in a link or in a function of the site is not looked at."""
    _, text = parts(page)
    text = re.sub(r"\[\[\[.*?\]\]\]|\[\[%.*?%\]\]", "", text, flags=re.S)
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.S)
    typed = set(MEASURED.findall(text)) - set(WORDS.split())
    assert not typed, f"draw these from a table: {sorted(typed)}"


def test_the_readme_shows_the_committed_numbers() -> None:
    table = site_measures.readme_table()
    assert table in README.read_text(), f"put this between the README's markers:\n{table}"


def test_the_readme_is_short_and_its_links_are_alive() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (ROOT / link).exists(), link


CLIPS = sorted((DOCS / "reference" / "tasks").glob("*_moving.webp"))


def test_every_task_has_a_moving_picture_and_all_together_are_small() -> None:
    assert [file.stem.removesuffix("_moving") for file in CLIPS] == sorted(site_reference.task_names())
    assert sum(file.stat().st_size for file in CLIPS) < 2_000_000


@pytest.mark.parametrize("clip", CLIPS, ids=identity)
def test_a_moving_picture_moves_for_the_seconds_that_its_page_says(clip: Path) -> None:
    task = clip.stem.removesuffix("_moving")
    with Image.open(clip) as picture:
        frames = [(frame.load(), frame.info["duration"], frame.tobytes()) for frame in ImageSequence.Iterator(picture)]
    times = [duration for _, duration, _ in frames]
    assert len({content for _, _, content in frames}) > 20
    row = site_clips.clips()[task]
    assert sum(times) / 1000 == pytest.approx(float(row["seconds"]))
    assert ("random actions" in site_clips.task_clip(task)) == (row["policy"] == "random")
    assert f"{task}_moving.webp" in site_hook.fill((DOCS / "reference" / "tasks" / f"{task}.md").read_text())


def test_a_moving_picture_stands_still_for_who_asked_for_less_motion() -> None:
    html = '<p><img alt="a" src="x/ant_moving.webp" width="9"> <img alt="b" src="x/ant.webp"></p>'
    still = '<source media="(prefers-reduced-motion: reduce)" srcset="x/ant.webp">'
    moving, other = re.findall(r"<img[^>]*>", html)
    assert site_hook.on_page_content(html) == f"<p><picture>{still}{moving}</picture> {other}</p>"


def test_questions_cite_where_they_were_asked() -> None:
    questions = re.split(r"^### ", (DOCS / "faq.md").read_text(), flags=re.M)[1:]
    assert len(questions) >= 25
    cited = [re.search(r"Asked in \[[^]]+\]\((https://github\.com/\S+/issues/\d+)\)", text) for text in questions]
    assert all(cited) and len({found[1] for found in cited if found}) == len(questions)


def test_the_projects_address_is_named_in_one_place() -> None:
    suffixes = {".md", ".toml", ".yml", ".yaml", ".cff", ".py"}
    tops = [top for top in ROOT.iterdir() if top.name not in (".venv", ".git", "site", "runs")]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*")) if file.suffix in suffixes]
    named = [file for file in files if file.is_file() and "github.com/" + "OWNER" in file.read_text()]
    assert named == [ROOT / "pyproject.toml"]


@pytest.mark.parametrize("name", sorted(site_reference.public_names()))
def test_public_names_are_documented(name: str) -> None:
    """Each, and each public method and property of its own."""
    thing = getattr(diffmaac, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        own = {key: part for key, part in vars(thing).items() if not key.startswith("_")}
        functions = {key: part for key, part in own.items() if inspect.isroutine(part) or isinstance(part, property)}
        silent = [key for key, part in functions.items() if not inspect.getdoc(getattr(part, "__func__", part))]
        assert not silent, f"{name}: {silent}"


@pytest.fixture
def returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table of two tasks, two seeds each."""
    (tmp_path / "t.csv").write_text("task,seed,x,note\na,0,1,one\na,1,3,two\nb,0,10.5,three\nb,1,,four\n")
    monkeypatch.setattr(site_numbers, "RESULTS", tmp_path)
    site_numbers.read.cache_clear()
    return "t.csv"


def test_numbers_are_those_of_the_table(returns: str) -> None:
    assert site_numbers.value(returns, "x", "mean", "{:.1f}", task="a") == "2.0"
    assert site_numbers.value(returns, "x", form="{:.1f}", task="b", seed=0) == "10.5"
    assert site_numbers.each(returns, "x", "{:.0f}", task="a") == "1, 3"
    by_task = site_numbers.table(returns, ["task"], [("n", "x", "count", "{}"), ("first", "note", "text", "")])
    assert by_task.splitlines()[2:] == ["| a | 2 | one |", "| b | 1 | three |"]
    across = site_numbers.pivot(returns, ["task"], "seed", "x", "mean", "{:g}")
    assert across.splitlines()[0] == "| task | seed 0 | seed 1 |" and across.splitlines()[3] == "| b | 10.5 |  |"


@pytest.mark.parametrize("where", [{"task": "c"}, {"task": "a"}])
def test_a_number_that_is_not_there_or_not_one_is_refused(where: dict[str, str], returns: str) -> None:
    with pytest.raises(ValueError, match=r"has no row|has 2 numbers"):
        site_numbers.value(returns, "x", **where)


def test_a_page_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(jinja2.UndefinedError):
        site_hook.fill("[[[ vallue() ]]]")
    with pytest.raises(ValueError, match=r"there is no nowhere\.py"):
        site_hook.fill('[[[ source("nowhere.py") ]]]')


def test_formulas_become_mathml_and_code_stays() -> None:
    text = site_hook.set_formulas("with $\\gamma^H$ and `$x$` costs $5\n\n```sh\necho $HOME $PATH$\n```\n\n$$a = b$$")
    assert text.count("<math") == 2 and "`$x$`" in text and "echo $HOME $PATH$" in text and "costs $5" in text


def test_a_page_is_described_by_its_first_paragraph() -> None:
    text = "# Title\n\nYou *learn* how\n`x` links to [a page](a.md).\n\nMore."
    assert site_hook.summary(text) == "You learn how x links to a page."


def test_pages_have_an_address_as_soon_as_the_project_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_hook, "project_urls", lambda: {"Documentation": "https://OWNER.example.org/diffmaac"})
    assert site_hook.on_config({"site_url": ""}) == {"site_url": ""}
    monkeypatch.setattr(site_hook, "project_urls", lambda: {"Documentation": "https://someone.example.org/diffmaac"})
    assert site_hook.on_config({"site_url": ""}) == {"site_url": "https://someone.example.org/diffmaac/"}


def test_a_public_name_that_the_reference_lacks_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    site_hook.on_pre_build()
    monkeypatch.setattr(site_reference, "public_names", lambda: ["train", "forgotten"])
    with pytest.raises(PluginError, match=r"lacks forgotten"):
        site_hook.on_pre_build()


def test_a_command_that_the_reference_lacks_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(site_reference.COMMANDS, "plot")
    with pytest.raises(ValueError, match="the command line has"):
        site_hook.on_pre_build()


def test_a_fault_of_a_built_page_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(GOOD.format("<p>good</p>"))
    site_hook.on_post_build({"site_dir": tmp_path})
    (tmp_path / "b.html").write_text(GOOD.format('<script src="https://example.org/x.js"></script>'))
    with pytest.raises(PluginError, match=r"b\.html loads https://example\.org/x\.js"):
        site_hook.on_post_build({"site_dir": tmp_path})


GOOD = "<html><head><title>t</title></head><body><h1>t</h1>{}</body></html>"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<img src="a.png" alt="a">', ""),
        ('<a href="https://example.org">a link is no load</a>', ""),
        ('<img src="https://example.org/a.png" alt="a">', "loads https://example.org/a.png"),
        ('<script src="//cdn.example.org/x.js"></script>', "loads //cdn"),
        ('<link rel="stylesheet" href="https://fonts.example.org/css">', "loads https://fonts"),
        ('<img src="a.png">', "has no text"),
        ("<h1>another</h1>", "has 2 headings"),
    ],
)
def test_faults_of_a_built_page_are_found(body: str, fault: str) -> None:
    found = site_checks.faults(GOOD.format(body))
    assert [fault] == [fault for line in found if fault in line] if fault else found == []
    assert "has no title" in site_checks.faults(GOOD.replace("<title>t</title>", ""))
