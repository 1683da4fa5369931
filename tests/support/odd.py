"""Commands called with odd input: how each ended, and whether that is one of the two ways in which it may end.

A command runs, or it ends with exit code 2 and one line on standard error, and leaves nothing behind. Here it is called
in this process, in a folder of its own, with a limit on time and memory, so that thousands of cases can be tried.
"""

import faulthandler
import os
import resource
import shlex
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import hypothesis

from diffmaac.cli import main

FUZZ = int(os.environ.get("DIFFMAAC_FUZZ", "0"))
"""How many cases to try of each kind; 0: the few of the short tests."""
SECONDS = 20.0
"""A case that takes longer counts as one that does not end."""
GIBIBYTES = 4
"""Memory that a case may ask for beyond what the process has. What needs more is to be refused, not to be killed."""
LIMITED = hasattr(resource, "RLIMIT_AS") and sys.platform == "linux"
LONGEST = 2000
"""Letters of a line: a value of thousands is not repeated."""
PROGRESS = "━"
"""Of a bar: what measures for minutes may meet a state that diverges after it has begun."""
BEGUN = "run directory: "
"""What `train` says once a run exists, which then stays, however training ends."""


class TimeUp(BaseException):
    """No `Exception`, lest the code under test should catch it."""


Files = dict[str, tuple[int, int, int]]
"""Path below a folder -> kind, size, time of the last change."""


@dataclass(frozen=True)
class Ending:
    """How a command ended: `code` None where an exception escaped, which `escaped` tells; what it `left` or changed."""

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    escaped: str
    left: tuple[str, ...]
    seconds: float

    @property
    def wrong(self) -> str:
        """What is wrong with it, by kind; empty: nothing."""
        if self.escaped.startswith(TimeUp.__name__) and BEGUN in self.err:
            return ""  # it trains, for longer than anybody waits here
        if self.code is None:
            return f"traceback: {self.escaped.split(':')[0]}"
        partial = [path for path in self.left if path.endswith(".partial") or path.endswith("MUJOCO_LOG.TXT")]
        if partial:
            return f"leaves {Path(partial[0]).suffix}"
        if self.code in (0, 1):
            return ""
        if self.code != 2:
            return f"exit code {self.code}"
        if BEGUN in self.err:
            return "" if self.err.splitlines()[-1].startswith("diffmaac: ") else "stops without saying why"
        lines = [line for line in self.err.splitlines() if PROGRESS not in line]
        if len(lines) != 1 or not lines[0].startswith("diffmaac: ") or not self.err.endswith("\n"):
            return f"{len(lines)} lines"
        if any(unicodedata.category(letter) == "Cc" for letter in self.err.rstrip("\n")):
            return "control characters in the line"
        if len(self.err) > LONGEST:
            return "a line of thousands of letters"
        return "leaves something" if self.left else "prints before it refuses" if self.out else ""

    def __str__(self) -> str:
        words = self.escaped or self.err.strip()
        return f"[{self.wrong}] {_shown(self.arguments)} -> {words[-400:]!r} {' '.join(self.left)}"


def _shown(arguments: Sequence[str]) -> str:
    if len(arguments) > 3:
        arguments = (arguments[0], "...", arguments[-1])
    words = (shlex.quote(word if len(word) < 80 else f"{word[:60]}...({len(word)} characters)") for word in arguments)
    return ascii(" ".join(words))[1:-1]


def call(
    arguments: Sequence[str], folder: Path, command: Callable[[Sequence[str]], None] = main, seconds: float = SECONDS
) -> Ending:
    """Calls the command line, or another `command` that ends as it does, in `folder`."""
    before, start, code, escaped = files(folder), time.monotonic(), None, ""
    with _inside(folder), _heard() as heard, warnings.catch_warnings(record=True) as warned, _limits(seconds):
        warnings.simplefilter("default")
        try:
            command(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        except (Exception, TimeUp) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            escaped = f"{type(error).__name__}: {str(error)[:300]} ({Path(place.filename).name}:{place.lineno})"
    out, err = heard
    err += "".join(f"{w.filename}:{w.lineno}: {w.category.__name__}\n" for w in warned)
    after = files(folder)
    left = tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
    return Ending(tuple(arguments), code, out, err, escaped, left, time.monotonic() - start)


def files(folder: Path) -> Files:
    """All that lies below `folder`, but for locks."""
    seen = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        changed = 0 if path.is_dir() else about.st_mtime_ns
        if path.name != ".lock":
            seen[str(path.relative_to(folder))] = (about.st_mode, 0 if path.is_dir() else about.st_size, changed)
    return seen


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Standard output and standard error of the block, C code's included."""
    heard: list[str] = []
    streams = (sys.stdout, sys.stderr)
    copies = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (
            os.fdopen(os.dup(number), "w", encoding="utf-8", errors=errors)
            for number, errors in ((1, "strict"), (2, "backslashreplace"))
        )
        try:
            yield heard
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.close()
            sys.stdout, sys.stderr = streams
            for copy, number in zip(copies, (1, 2), strict=True):
                os.dup2(copy, number)
                os.close(copy)
            for file in (out, err):
                file.seek(0)
                heard.append(file.read().decode(errors="replace"))


@contextmanager
def _limits(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the block after `seconds`; ends the process where C code does not return long after that."""

    def ring(signal_number: int, frame: FrameType | None) -> None:
        raise TimeUp(f"not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    terminated = signal.getsignal(signal.SIGTERM)
    faulthandler.dump_traceback_later(10 * seconds, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with _memory():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
        signal.signal(signal.SIGTERM, terminated)


@contextmanager
def _memory() -> Iterator[None]:
    """Lets the block ask for `GIBIBYTES` more than the process has; without limit where the system has none."""
    if not LIMITED:
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIBIBYTES * 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def few(examples: int) -> hypothesis.settings:
    """The same `examples` each time; with DIFFMAAC_FUZZ that many others."""
    return hypothesis.settings(
        max_examples=FUZZ or examples,
        derandomize=not FUZZ,
        database=None,
        deadline=None,
        suppress_health_check=(hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much),
        phases=(hypothesis.Phase.generate,),  # cases are small, and all that go wrong are told together
    )


class Tally:
    """The cases of a test, and those that went wrong."""

    def __init__(self) -> None:
        self.cases = 0
        self.codes: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}

    def add(self, ending: Ending, refused: bool = False, note: str = "") -> None:
        """Counts a case, with what there is to know of it; with `refused` it must have ended with exit code 2."""
        self.cases += 1
        self.codes[str(ending.code)] += 1
        kind = ending.wrong or ("is taken" if refused and ending.code != 2 else "")
        if kind:
            self.wrong.setdefault(kind, []).append(f"{ending} {note}")

    def check(self) -> None:
        """Fails with a line for every case that went wrong."""
        counts = ", ".join(f"{code}: {count}" for code, count in sorted(self.codes.items()))
        print(f"{self.cases} cases; by exit code {counts}; wrong {sum(map(len, self.wrong.values()))}")
        lines = [f"{kind}: {len(cases)}\n  " + "\n  ".join(dict.fromkeys(cases)) for kind, cases in self.wrong.items()]
        assert not lines, "\n".join(lines)
