"""`diffmaac reproduce`."""

from typing import Annotated

from diffmaac.commands.show import Words, argument, help_text, read_words, show, stopped
from diffmaac.experiments.settings import ReproduceSettings

HELP = help_text(
    """Make a figure or table of the paper: train the runs that are missing, then draw.

\b
  diffmaac reproduce figure2 scale=smoke                   does everything work? a minute
  diffmaac reproduce figure4 scale=quick jobs=2            hours on two cores
  diffmaac reproduce figure2 envs=half_cheetah variants=maac,sac seeds=1
  diffmaac reproduce figure2 hours=48                      refused where it would take longer

\b
  figure2   learning curves of MAAC, MBPO, STEVE, SVG(1) and SAC
  figure3   the policy gradient's error against H, on the linear system (variants=slow, or fast: the policy)
  figure4   ablations: H = 0, TD targets, the number of samples
  figure5   ablations: real data only, no entropy, one sample in a batch of 1280
  table1    MAAC with and without planning
  table2    where the time of 1,000 steps goes, for MAAC and MBPO

Runs that exist are reused, those that were stopped are resumed. Each curve is the interquartile mean over its runs with
its 95 % stratified bootstrap interval; the tables hold mean +- standard deviation beside it.
""",
    ReproduceSettings,
)


def command(experiment: Annotated[str, argument("EXPERIMENT")], words: Words = None) -> None:
    """Makes a figure or table of the paper."""
    settings = read_words(ReproduceSettings, words)

    from diffmaac.experiments.reproduce import reproduce

    try:
        show(reproduce(experiment, **settings))
    except KeyboardInterrupt:
        raise stopped("The same command goes on from here.") from None
