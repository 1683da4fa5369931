"""A run belongs to the process that trains it."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from diffmaac.errors import SettingError
from diffmaac.runs.layout import LOCK

PATIENCE = 0.2
"""Seconds after which a lock that another process holds is tried again: it may only have looked (`is_claimed`)."""


@contextmanager
def claimed(path: Path, what: str = "") -> Iterator[None]:
    """Keeps the run in `path` to the caller; the operating system gives it free again however the process ends.

    Raises SettingError where the run (or `what`) is being trained already, OSError where nothing can be written there.
    On a file system without locks it does nothing.
    """
    with (path / LOCK).open("a") as file:
        if not _locked(file):
            time.sleep(PATIENCE)
            if not _locked(file):
                name = what or f"the run in '{path}'"
                raise SettingError(f"{name} is being trained already. Wait for its end, or stop it.")
        yield


def is_claimed(path: Path) -> bool:
    """Whether a process is training the run in `path` now; False where nobody can tell."""
    try:
        with (path / LOCK).open("r+") as file:
            return not _locked(file)
    except OSError:
        return False


def _locked(file: IO[str]) -> bool:
    """Takes the lock until the file is closed; False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
