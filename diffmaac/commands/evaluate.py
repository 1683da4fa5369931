"""`diffmaac evaluate`."""

from diffmaac.analysis.settings import EvaluateSettings
from diffmaac.commands.show import Run, Words, help_text, read_words, show

HELP = help_text(
    """Evaluate a run's policy (its mode), or a planner, on episodes with fixed start states.

\b
  diffmaac evaluate runs/pendulum-maac-learned-s0-... episodes=10
  diffmaac evaluate runs/half_cheetah-maac-... planner=cem dynamics=true
""",
    EvaluateSettings,
)


def command(run: Run, words: Words = None) -> None:
    """Evaluates a run or a planner."""
    settings = read_words(EvaluateSettings, words)

    from diffmaac.analysis.evaluate import evaluate

    show(evaluate(run, **settings))
