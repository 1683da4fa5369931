"""Trainings without the seconds that a process takes to start."""

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import TextIO

from diffmaac.cli import main


class Here:
    """Stands in for the `subprocess.Popen` of `python -m diffmaac.cli WORDS`: the same words, in this process."""

    _turn = threading.Lock()  # standard output is one for all threads

    def __init__(self, command: Sequence[str], stdout: TextIO, stderr: int, env: Mapping[str, str]):
        assert list(command[1:3]) == ["-m", "diffmaac.cli"]
        self._words, self._output, self._code = command[3:], stdout, None
        self._code = self._run()

    def poll(self) -> int | None:
        return self._code

    def _run(self) -> int:
        with self._turn, contextlib.redirect_stdout(self._output), contextlib.redirect_stderr(self._output):
            try:
                main(self._words)
            except SystemExit as end:
                return int(end.code or 0)
        raise AssertionError("the command line ended without an exit code")

    def terminate(self) -> None:
        """Nothing to do: what runs here ends with this process."""
