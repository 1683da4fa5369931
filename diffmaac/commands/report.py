"""`diffmaac report`."""

from diffmaac.analysis.settings import PageSettings
from diffmaac.commands.show import Run, Words, help_text, read_words, show

HELP = help_text(
    """Write one HTML page about a run: settings, curves, times, model error, video. It needs no network.

\b
  diffmaac report runs/half_cheetah-maac-...

Figures of `diffmaac model-error RUN` and `gradient-error RUN`, and videos in RUN/videos, are shown where they exist.
""",
    PageSettings,
)


def command(run: Run, words: Words = None) -> None:
    """Writes a page about a run."""
    settings = read_words(PageSettings, words)

    from diffmaac.analysis.report import report

    show(report(run, **settings))
