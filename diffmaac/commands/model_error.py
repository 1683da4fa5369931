"""`diffmaac model-error`."""

from diffmaac.analysis.settings import ModelErrorSettings
from diffmaac.commands.show import Run, Words, help_text, read_words, show

HELP = help_text(
    """Measure a run's model on held-out real states: predictions, calibration, derivatives.

\b
  diffmaac model-error runs/half_cheetah-maac-... states=256

From the same start states the policy runs in the world and in the model: if it earns more there, it exploits the
model's errors.
""",
    ModelErrorSettings,
)


def command(run: Run, words: Words = None) -> None:
    """Measures a run's model."""
    settings = read_words(ModelErrorSettings, words)

    from diffmaac.analysis.model_error import model_error

    show(model_error(run, **settings))
