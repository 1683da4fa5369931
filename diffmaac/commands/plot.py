"""`diffmaac plot`."""

from dataclasses import replace

from diffmaac.commands.show import RunsAndWords, help_text, read_words, show
from diffmaac.experiments.settings import PlotSettings
from diffmaac.settings import runs_and_words

HELP = help_text(
    """Compare runs of one task: return against environment steps and against wall time.

\b
  diffmaac plot runs/pendulum-* out=pendulum.png

Runs whose settings differ in nothing but the seed become one curve, the interquartile mean with its 95 % bootstrap
interval. A run that cannot be read is named, and the others are drawn.
""",
    PlotSettings,
)


def command(runs: RunsAndWords) -> None:
    """Compares runs in a figure."""
    paths, rest = runs_and_words(runs)
    settings = read_words(PlotSettings, rest)

    from diffmaac.experiments.comparison import plot

    result = plot(paths, **settings)
    counts = [f"{label}: {count} run{'s' if count > 1 else ''}" for label, count in result.value.items()]
    show(replace(result, notes=[*counts, *result.notes]))
