"""In a notebook: the live line of a training and the table of a sweep are drawn, by a kernel that nbclient runs."""

from pathlib import Path

import pytest
from support.runs import TINY

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")

TRAIN = f"""
import diffmaac
run = diffmaac.train("double_integrator", out="run", **{dict(TINY)!r})
run.agent.step
"""
SWEEP = f"""
import diffmaac
result = diffmaac.sweep(env="double_integrator", seed=0, jobs=1, out="sweep", **{dict(TINY)!r})
len(result.value)
"""


def widgets(notebook) -> str:
    """The text of the output widgets, which a notebook keeps beside its cells."""
    states = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    return str(states)


@pytest.mark.parametrize(("code", "value", "shown"), [(TRAIN, "120", "/120"), (SWEEP, "1", "runs done")])
def test_progress_is_live_in_a_notebook(code: str, value: str, shown: str, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = notebook.cells[0].outputs
    assert [o.data["text/plain"] for o in outputs if o.output_type == "execute_result"] == [value]
    # Rich draws from a thread as well, which may come last: how far the line is by then is not certain.
    assert shown in str(outputs) + widgets(notebook)
