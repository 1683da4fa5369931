"""`diffmaac runs`."""

from diffmaac.commands.show import RunAndWords, help_text, read_words, show
from diffmaac.errors import SettingError
from diffmaac.experiments.settings import RunsSettings
from diffmaac.settings import runs_and_words

HELP = help_text(
    """List the runs in a folder: what differs, step, return, and whether they are running, done, failed or stopped.

\b
  diffmaac runs                        those in runs/
  diffmaac runs runs/sweep-... sort=return
""",
    RunsSettings,
)


def command(words: RunAndWords = None) -> None:
    """Lists runs."""
    folders, rest = runs_and_words(words or [])
    if len(folders) > 1:
        raise SettingError(f"{len(folders)} folders were given, {' and '.join(folders)}. List one at a time.")
    settings = read_words(RunsSettings, rest)

    from diffmaac.experiments.listing import list_runs

    show(list_runs(folders[0] if folders else "runs", **settings))
