"""The tests marked `cuda`."""

import subprocess
import sys

from diffmaac.errors import one_line
from gpu_parts.table import GpuSettings, Table


def tests(settings: GpuSettings, table: Table) -> None:
    """A row for each test as it ends."""
    chosen = ["-m", "cuda"] if settings.device == "cuda" else ["-k", "reads_nothing_back and sac"]
    files = [f"tests/test_{name}.py" for name in ("machine", "resume", "graphed")]
    command = [sys.executable, "-m", "pytest", "-v", "-n0", "-p", "no:cacheprovider", *chosen, *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            test, _, result = line.partition(" ")
            if "::" in test and result.split() and test.startswith("tests/"):
                table.add({"test": test.partition("::")[2], "result": result.split()[0]})
            elif line.startswith(("E  ", "ERROR", "FAILED")):
                table.add({"test": "", "result": one_line(line)[:300]})
