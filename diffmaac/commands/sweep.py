"""`diffmaac sweep`."""

from diffmaac.commands.show import Words, help_text, show, stopped
from diffmaac.experiments.grid import check_size, grid_of, space_of, split
from diffmaac.experiments.settings import SweepSettings
from diffmaac.settings import parse_words

HELP = help_text(
    """Train a run for each combination of settings, and draw them: what differs becomes a curve.

\b
  diffmaac sweep env=pendulum,cartpole horizon=0,1,2,4 seed=0..4 jobs=2
  diffmaac sweep hidden=[64,64],[256,256] seed=0..2          a list needs its brackets here
  diffmaac sweep config=grid.yaml                            the same words in a file, alternatives as lists
  diffmaac sweep search=optuna trials=50 actor_lr=1e-4..1e-2 horizon=0,2,4
  diffmaac sweep ... engine=ray address=head:6379            on a Ray cluster (pip install diffmaac[ray])

The same command goes on where it was stopped: runs that exist are reused, those that were stopped are resumed. A run
that fails is named, and the others go on. Each run has one thread unless threads= says otherwise.

\b
Every setting of `diffmaac train --help` may be given, with alternatives, and these:
""",
    SweepSettings,
)


def command(words: Words = None) -> None:
    """Trains and draws a sweep."""
    given = parse_words(words or [])
    own, rest = split(given)  # before torch is loaded, so that a mistake is answered at once
    if own.search == "grid":
        check_size(grid_of(rest), own.yes)
    else:
        space_of(rest)

    from diffmaac.experiments.sweep import sweep

    try:
        show(sweep(**given))
    except KeyboardInterrupt:
        raise stopped("The same command goes on from here; `diffmaac runs` lists what there is.") from None
