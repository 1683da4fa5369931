"""`diffmaac check-gradients`."""

import typer

from diffmaac.analysis.settings import CheckSettings
from diffmaac.commands.show import Words, help_text, read_words, show

HELP = help_text(
    """Compare a model's step and gradient with MuJoCo's C engine; exit code 1 if a gradient is wrong.

\b
  diffmaac check-gradients env=ant
  diffmaac check-gradients model=robot.xml frame_skip=5 gradient=engine,implicit,finite_difference
  diffmaac check-gradients run=runs/half_cheetah-... states=256 out=check.csv
""",
    CheckSettings,
)


def command(words: Words = None) -> None:
    """Checks a model's gradients; exit code 1 where one is wrong."""
    settings = read_words(CheckSettings, words)

    from diffmaac.analysis.check_gradients import check_gradients

    result = check_gradients(**settings)
    show(result)
    if not result.passed:
        raise typer.Exit(1)
