"""`diffmaac report`: one page that holds all it shows."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.runs import refused

from diffmaac.cli import app
from diffmaac.runs.layout import EVALUATION, VIDEOS
from diffmaac.settings import FIELDS


class Page(HTMLParser):
    """Tags that load something, and whether every element is closed."""

    EMPTY = frozenset({"meta", "img", "path", "use", "rect", "stop"})

    def __init__(self, text: str):
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


@pytest.fixture
def finished(swung: Path, tmp_path: Path) -> Path:
    """A run of one's own, to be spoilt."""
    return Path(shutil.copytree(swung, tmp_path / "run"))


def test_the_page_holds_all_it_shows(finished: Path) -> None:
    (finished / VIDEOS).mkdir()
    (finished / VIDEOS / "episode.mp4").write_bytes(b"a video")
    app(["model-error", str(finished), "states=4", "steps=3", "episodes=1", "copies=1"], standalone_mode=False)
    app(["report", str(finished)], standalone_mode=False)
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.loaded and all(link.startswith(("data:", "#")) for link in page.loaded)
    assert {"svg", "video", "img"} <= set(page.tags) and page.tags.count("img") == 2
    assert all(f"<td>{name}</td>" in text for name in FIELDS), "every setting has its line"
    assert re.search(r"return, evaluation after training, at step 120</td><td>-?[\d.]+ ± [\d.]+ over 2 episodes", text)
    assert "<td>optimisation</td>" in text and "<td>ensemble</td>" in text


DAMAGED = ['{"return": 1', '{"step": 300}', "[1]", "7", '{"step": "x", "return": "y", "return_std": 1, "returns": 3}']


@pytest.mark.parametrize("text", [*DAMAGED, '{"step": 1, "return": 1, "return_std": 1, "returns": 3}'])
def test_a_damaged_evaluation_is_left_away(text: str, finished: Path) -> None:
    (finished / EVALUATION).write_text(text)
    table = {"7": b"", "[1]": b"member,\xff\n0,1\n"}.get(text, b"member,eps_f\n0\n")
    (finished / "figures" / "model_error.csv").write_bytes(table)
    app(["report", str(finished)], standalone_mode=False)
    assert "evaluation after training" not in (finished / "report.html").read_text()


def test_what_a_run_has_not_is_left_away(finished: Path, tmp_path: Path) -> None:
    app(["report", str(finished), f"out={tmp_path / 'page.html'}"], standalone_mode=False)
    page = Page((tmp_path / "page.html").read_text())
    assert "svg" in page.tags and not {"video", "img"} & set(page.tags)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/run"], "is not a run directory"),
        (["RUN", "out=no/such/page.html"], "there is no directory"),
        (["RUN", "video=no.mp4"], "there is no such file"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, finished: Path, capsys) -> None:
    assert message in refused("report", *(str(finished) if word == "RUN" else word for word in words), capsys=capsys)


def test_a_run_without_an_evaluation_has_no_page(finished: Path, capsys) -> None:
    (finished / "metrics.csv").unlink()
    assert "has no evaluation yet" in refused("report", str(finished), capsys=capsys)
