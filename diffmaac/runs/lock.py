"""A run belongs to the process that trains it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffmaac.errors import SettingError
from diffmaac.runs.layout import LOCK


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keeps the run in `path` to the caller; the operating system gives it free again however the process ends.

    Raises SettingError where the run is being trained already, OSError where nothing can be written there. On a file
    system without locks it does nothing.
    """
    with (path / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingError(
                f"the run in '{path}' is being trained already. Wait for its end, or stop it."
            ) from error
        except OSError:
            pass
        yield
