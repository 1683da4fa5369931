"""`diffmaac train`."""

import typer

from diffmaac.commands.show import Words, echo_lines, stopped
from diffmaac.settings import GROUPS, check_resumable, describe, fields_of, parse_words, with_file
from diffmaac.settings.presets import PRESETS
from diffmaac.tasks import check_settings

DEFAULT_PRESET = "quick"
INTRO = f"""Train a policy, evaluate it and draw its learning curve. Settings are written name=value.

\b
  diffmaac train                                              pendulum swing-up, a few minutes
  diffmaac train env=half_cheetah dynamics=true horizon=4     through MuJoCo itself
  diffmaac train resume=runs/pendulum-maac-learned-s0-...     take up a run that was stopped
  diffmaac train config=my.yaml seed=1                        settings from a file

The values below are those of preset={DEFAULT_PRESET}, which is in force unless you choose another; where the paper's
(preset=paper) differ they stand beside. A task changes some of them, and dynamics=true a few more; the settings that a
run was made with stand in its config.yaml.
"""


def _help() -> str:
    lines = [INTRO]
    for name, group in GROUPS.items():
        title = f"{name}: {(group.__doc__ or '').strip()}"
        lines += ["\b", title, *describe(fields_of(group).values(), PRESETS[DEFAULT_PRESET], "paper"), ""]
    return "\n".join(lines)


HELP = _help()


def command(words: Words = None) -> None:
    """Trains, evaluates and draws; its help is HELP, as with the other commands."""
    settings = parse_words(words or [])
    if "resume" in settings:
        check_resumable(settings)
    else:  # before torch is loaded, so that a mistake is answered at once
        settings = with_file(settings)
        check_settings(settings)

    from diffmaac.session import complete, prepare

    trainer = prepare(None, settings)
    typer.echo(f"run directory: {trainer.folder}", err=True)
    try:
        run = complete(trainer)
    except KeyboardInterrupt:
        raise stopped(f"Go on with `diffmaac train resume={trainer.folder}`.") from None
    echo_lines(run.lines())
    typer.echo(f"learning curve: {run.figure}")
