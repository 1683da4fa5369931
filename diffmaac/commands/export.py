"""`diffmaac export`."""

from typing import Annotated

from diffmaac.analysis.settings import ExportSettings
from diffmaac.commands.show import Run, Words, argument, help_text, read_words, show

HELP = help_text(
    """Write a run's policy as one file for other programs, with the environment's action bounds inside.

\b
  diffmaac export runs/pendulum-maac-... policy.onnx          (pip install diffmaac[export])
  diffmaac export runs/pendulum-maac-... policy.pt            TorchScript

Input: a batch of observations as the environment gives them; output: actions as it takes them; both float32.
""",
    ExportSettings,
)


def command(run: Run, file: Annotated[str, argument("FILE")], words: Words = None) -> None:
    """Exports a run's policy."""
    settings = read_words(ExportSettings, words)

    from diffmaac.analysis.export import export

    show(export(run, file, **settings))
