"""JAX's persistent compilation cache in a directory that only the user can write.

A compiled program is loaded from the cache and run, so whoever can write there can run code as the user.
"""

import errno
import functools
import logging
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from diffmaac.physics.typed import config, set_config

_LOGGER = logging.getLogger(__name__)
_EMPTY = "diffmaac-empty-cache-"
"""How the names of caches begin that are thrown away."""


def cache_directory() -> Path:
    """`$DIFFMAAC_CACHE`, else `$XDG_CACHE_HOME/diffmaac`, else `~/.cache/diffmaac`."""
    if explicit := os.environ.get("DIFFMAAC_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "diffmaac"


def private_directory(path: Path) -> Path:
    """Creates `path` with mode 0700, or checks that nobody but the user can write to it.

    Raises:
        OSError: it cannot be created, or not written.
        ValueError: `path` is not a directory, belongs to somebody else, or its group or others may write to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"The cache {path} is not a directory (links are not followed). Set DIFFMAAC_CACHE.")
    if status.st_uid != os.getuid():
        raise ValueError(
            f"The cache {path} belongs to user {status.st_uid}, and you are {os.getuid()}: the compiled programs in it"
            " would be run as you. Set DIFFMAAC_CACHE to a directory of your own."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(
            f"The cache {path} has mode {stat.S_IMODE(status.st_mode):04o}, so others can put programs into it that run"
            f" as you. Run `chmod 700 {path}` after a look inside, or set DIFFMAAC_CACHE to another directory."
        )
    return path


def enable_compilation_cache() -> Path | None:
    """Turns the persistent cache on for this process; leaves alone a cache that the user has set already.

    Returns:
        The directory in use, or None where JAX was configured by the user, or where the directory cannot be written:
        nothing is kept then, and the log says so once.

    Raises:
        ValueError: others could put programs into the directory.
    """
    if config("jax_compilation_cache_dir") is not None:
        return None
    try:
        directory = private_directory(cache_directory())
    except OSError as error:
        _warn_once(
            f"compiled programs are not kept for the next start: {error}. Set DIFFMAAC_CACHE to a directory that can be"
            " written."
        )
        return None
    set_config("jax_compilation_cache_dir", str(directory))
    return directory


@functools.cache
def _warn_once(message: str) -> None:
    _LOGGER.warning(message)


def persistent_cache() -> str | None:
    """The directory in which compiled programs outlive this process; None where there is none."""
    directory = config("jax_compilation_cache_dir")
    return None if directory is None or Path(directory).name.startswith(_EMPTY) else directory


@contextmanager
def empty_compilation_cache() -> Generator[None]:
    """A cache of its own, empty and forgotten afterwards: to measure how long compiling takes."""
    before = config("jax_compilation_cache_dir")
    with tempfile.TemporaryDirectory(prefix=_EMPTY) as directory:
        try:
            _use(directory)
            yield
        finally:
            _use(before)


def forget_programs() -> None:
    """Lets this process compile anew, or read from the persistent cache, what it has compiled before."""
    jax.clear_caches()


def _use(directory: str | None) -> None:
    set_config("jax_compilation_cache_dir", directory)
    compilation_cache.reset_cache()  # JAX keeps the one it opened, whatever the setting says later
