"""Runs in a store that all nodes reach by fsspec, where they share no file system: snapshots of a run's directory."""

import contextlib
import json
import logging
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffmaac.errors import DiffmaacError, SettingError, StorageError, one_line
from diffmaac.experiments.plan import PlannedRun
from diffmaac.files import sha256
from diffmaac.repeating import repeating
from diffmaac.runs import checkpoint
from diffmaac.runs.layout import CHECKPOINT, LOCK

_LOGGER = logging.getLogger(__name__)
EVERY = 0.5
"""Seconds between two looks for a new checkpoint."""
KEPT = 2
"""Snapshots of a run that stay: where the last one is damaged, the one before takes its place."""
TRIES = 20
"""How often a snapshot is begun again in whose middle the run wrote a checkpoint."""
_NAME = re.compile(r"\d{12}-\d{20}-[0-9a-f]{64}\.tar")
"""Step of the checkpoint, time [ns] and SHA-256 of a snapshot: a file of this name and another digest is damaged."""


class Store:
    """Snapshots of runs at an fsspec URL: <url>/<run>/<step>-<time>-<digest>.tar, each complete in itself.

    Nothing is written over, so that a node which is lost in the middle of an upload damages no earlier snapshot.
    """

    def __init__(self, url: str):
        """Raises SettingError where there is no such kind of store, its package is missing, or it cannot be written."""
        import fsspec  # which torch brings along; it loads packages of services only as URLs name them

        try:
            self._files, self._root = fsspec.url_to_fs(url)
            self._files.makedirs(self._root, exist_ok=True)
        except Exception as error:  # of any package that serves a kind of store
            raise SettingError(f"storage={url} cannot be used: {one_line(error)}") from error
        self.url = url if "://" in url else self._files.unstrip_protocol(self._root)

    def snapshots(self, run: PlannedRun) -> list[str]:
        """The names of a run's snapshots, the oldest first."""
        self._files.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            found = (Path(str(path)).name for path in self._files.ls(self._at(run), detail=False))
            return sorted(name for name in found if _NAME.fullmatch(name))
        return []

    def put(self, run: PlannedRun) -> None:
        """Stores the run as it lies in its folder, its log beside it, and forgets all but the last snapshots.

        Raises StorageError where the run writes faster than it can be read; and as the store's package does.
        """
        with tempfile.TemporaryDirectory(prefix="diffmaac-") as folder:
            file = Path(folder) / "snapshot.tar"
            step = _packed(run, file)
            self._files.makedirs(self._at(run), exist_ok=True)
            name = f"{step:012d}-{time.time_ns():020d}-{sha256(file)}.tar"
            self._files.put_file(str(file), self._at(run, name))
        for old in self.snapshots(run)[:-KEPT]:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(self._at(run, old))

    def restore(self, run: PlannedRun) -> bool:
        """Puts the last snapshot that is whole in place of the run in its folder. Says whether there is one."""
        run.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".restored-", dir=run.folder) as folder:
            for name in reversed(self.snapshots(run)):
                file = Path(folder) / name
                with contextlib.suppress(FileNotFoundError):  # forgotten since, for a newer one
                    self._files.get_file(self._at(run, name), str(file))
                    if name.endswith(f"-{sha256(file)}.tar"):
                        _unpacked(run, file)
                        return True
                    _LOGGER.warning("%s: the snapshot %s is damaged; the one before it is taken.", run.name, name)
        return False

    def ahead(self, run: PlannedRun) -> bool:
        """Whether the store has at least as much of the run as its folder."""
        names = self.snapshots(run)
        return bool(names) and int(names[-1].partition("-")[0]) >= _step(run)

    @contextlib.contextmanager
    def following(self, run: PlannedRun) -> Iterator[None]:
        """Stores each checkpoint that the run writes until the block ends."""
        seen = _step(run)

        def look() -> None:
            nonlocal seen
            if (step := _step(run)) == seen:
                return
            try:
                self.put(run)
                seen = step
            except Exception as error:  # of the store: training goes on, and the next look tries again
                _LOGGER.warning("%s: its checkpoint cannot be stored: %s", run.name, one_line(error))

        with repeating(EVERY, look):
            yield

    def _at(self, run: PlannedRun, *names: str) -> str:
        return "/".join([self._root.rstrip("/"), run.name, *names])


def _step(run: PlannedRun) -> int:
    """The step of the run's checkpoint; 0 where it has none."""
    with contextlib.suppress(DiffmaacError, OSError):
        return checkpoint.saved_step(run.path / CHECKPOINT)
    return 0


def _packed(run: PlannedRun, file: Path) -> int:
    """Writes the run and its log to `file`; returns the step of the checkpoint that is in it.

    A run goes on while it is read. Its checkpoint is read first, so that what lies beside it is as new or newer, as it
    is where a process was killed; begun anew where the checkpoint was replaced meanwhile.
    """
    for _ in range(TRIES):
        step = _step(run)
        with contextlib.suppress(FileNotFoundError):  # what was to be read next has been replaced
            _write(run, file)
            if _complete(file) and _step(run) == step:
                return step
    raise StorageError(f"'{run.path}' changes faster than it can be read. Give it a larger epoch_steps=.")


def _write(run: PlannedRun, file: Path) -> None:
    parts = [run.path / CHECKPOINT, *sorted(run.path.iterdir())] if run.path.is_dir() else []
    with tarfile.open(file, "w") as archive:
        for path in dict.fromkeys([*parts, run.log]):
            if path.name != LOCK and path.exists():
                archive.add(path, path.relative_to(run.folder), filter=_file_or_folder)


def _file_or_folder(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return member if member.isreg() or member.isdir() else None


def _complete(file: Path) -> bool:
    """Whether all tensors that a manifest in the archive names are in it."""
    with tarfile.open(file) as archive:
        names = archive.getnames()
        for manifest in (name for name in names if name.endswith(f"/{checkpoint.MANIFEST}")):
            content: Any = archive.extractfile(manifest)
            if str(Path(manifest).with_name(json.load(content)["file"])) not in names:
                return False
    return True


def _unpacked(run: PlannedRun, file: Path) -> None:
    """Puts what is in `file` into the run's folder, in place of what is there of the run."""
    folder = file.with_suffix("")
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    if (folder / run.name).is_dir():
        shutil.rmtree(run.path, ignore_errors=True)
        (folder / run.name).rename(run.path)
    if (folder / run.log.name).is_file():
        (folder / run.log.name).replace(run.log)
