"""Files that are written whole or not at all, tables as CSV, records as JSON; errors name the file."""

import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

Kind = TypeVar("Kind", list, dict)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place in one rename when the block ends.

    Where the block fails, `path` stays as it was and nothing is left beside it. Raises OSError that names `path`.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with named(path):
            yield partial
            partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def check_folder(path: Path) -> None:
    """Raises OSError where `path` can be no directory to write to: it, or what it should lie in, is none or closed."""
    there = next(part for part in (path, *path.parents) if os.path.lexists(part))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Names `path` in an OSError of the block: that of a disk without room names no file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def replace_text(path: Path, text: str) -> None:
    """Writes a text file in one rename."""
    with replacing(path) as partial:
        partial.write_text(text)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, kind: type[Kind], *names: str) -> Kind | None:
    """What `write_json` wrote: a dict with numbers under `names`, or a list of such.

    None where there is no file or it holds something else, so that it can be measured again.
    """
    try:
        content = json.loads(path.read_text()) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, kind):
        return None
    records = content if isinstance(content, list) else [content]
    whole = all(isinstance(x, dict) and all(isinstance(x.get(n), int | float) for n in names) for x in records)
    return content if whole else None


def write_json(path: Path, content: Any) -> None:
    """Writes `content` in one rename."""
    replace_text(path, json.dumps(content, indent=1))


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file, in one rename, with all columns that a row has; a cell that a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
