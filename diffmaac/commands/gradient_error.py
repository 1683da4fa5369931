"""`diffmaac gradient-error`."""

from diffmaac.analysis.settings import GradientErrorSettings
from diffmaac.commands.show import RunAndWords, help_text, read_words, show
from diffmaac.errors import SettingError
from diffmaac.settings import runs_and_words

HELP = help_text(
    """Measure the error of the policy gradient against the horizon, and whose fault it is.

\b
  diffmaac gradient-error env=double_integrator horizons=0,1,2,4,8,16,32 dynamics=learned,true seeds=8
  diffmaac gradient-error runs/half_cheetah-maac-... horizons=0,1,2,4,8,16

With env= model and critic are trained here, and the references are closed forms. Of a run, learned dynamics are
compared with the true physics on the run's own states: same critic, same start states, same noise.
""",
    GradientErrorSettings,
)


def command(words: RunAndWords = None) -> None:
    """Measures the error of the policy gradient."""
    runs, rest = runs_and_words(words or [])
    if len(runs) > 1:
        raise SettingError(f"{len(runs)} runs were given, {' and '.join(runs)}. Measure one at a time.")
    settings = read_words(GradientErrorSettings, rest)

    from diffmaac.analysis.gradient_error import gradient_error

    show(gradient_error(runs[0] if runs else "", **settings))
