"""Failures that have a name. Each message says what was given, what is allowed and what to do."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 80
"""Characters of a value that are shown; longer ones are cut."""

MANY = 20
"""Names, of which no list is shown beside one that is near, or where a command lists them."""


class DiffmaacError(ValueError):
    """Something the user gave cannot be used. The command line shows it in one line and exits with code 2."""


class SettingError(DiffmaacError):
    """An unknown setting, or a value that the setting does not allow."""


class TaskError(DiffmaacError):
    """A task that cannot be used: its MJCF does not parse, its reward has the wrong shape, and so on."""


class CheckpointError(DiffmaacError):
    """A checkpoint that is missing, truncated, corrupted or written by another version."""


class StorageError(DiffmaacError):
    """A file that a run cannot write: the disk is full, a quota is reached, somebody took its directory away."""


class DivergenceError(DiffmaacError):
    """Physics that blew up, or a loss or gradient that is no longer finite."""


class GradientError(DiffmaacError):
    """A gradient that is not that of central differences."""


def unknown(what: str, name: object, known: Iterable[str], listing: str = "") -> str:
    """The message for a name that does not exist: the nearest one, and all there are unless they are many.

    `listing` is the command that lists many.
    """
    names = sorted(known)
    text = shortened(name)
    near = difflib.get_close_matches(text, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if len(names) > MANY and (near or listing):
        listed = f" `{listing}` lists all." if listing else ""
    else:
        listed = f" There are: {', '.join(names)}."
    return f"unknown {what} '{text}'.{hint}{listed}"


def shortened(value: object) -> str:
    """A value as text, cut where it is longer than `LONGEST` characters."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


def one_line(text: object) -> str:
    """`text` in one line of printable characters: what a terminal would obey is written out, as in Python: \\x1b."""
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """For programs: a DiffmaacError becomes one line on standard error and exit code 2, as on the command line."""
    try:
        yield
    except DiffmaacError as error:
        sys.stderr.write(f"diffmaac: {one_line(error)}\n")
        sys.exit(2)
