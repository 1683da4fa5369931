"""`diffmaac train`."""

from dataclasses import dataclass

import typer

from diffmaac.commands.show import Words, echo_lines, show, stopped
from diffmaac.errors import SettingError
from diffmaac.settings import GROUPS, build, check_resumable, describe, fields_of, parse_words, setting, with_file
from diffmaac.settings.presets import PRESETS
from diffmaac.tasks import check_settings

DEFAULT_PRESET = "quick"


@dataclass(frozen=True)
class TrainWords:
    """Words of the command alone: a run knows nothing of them."""

    dry_run: bool = setting(False, "say what would run, its memory and its time, and train nothing")
    quiet: bool = setting(False, "no progress and no advice; print the run directory at the end")


INTRO = f"""Train a policy, evaluate it and draw its learning curve. Settings are written name=value.

\b
  diffmaac train                                              pendulum swing-up, a few minutes
  diffmaac train env=half_cheetah dynamics=true horizon=4     through MuJoCo itself
  diffmaac train resume=runs/pendulum-maac-learned-s0-...     take up a run that was stopped
  diffmaac train config=my.yaml seed=1                        settings from a file (`diffmaac settings` writes one)
  diffmaac train env=Pendulum-v1                              any Gymnasium environment; its reward is learned
  diffmaac train env=ant dry_run=true                         what would run, its memory and its time; trains nothing
  diffmaac train quiet=true                                   no progress, no advice; prints the run directory

The values below are those of preset={DEFAULT_PRESET}, which is in force unless you choose another; where the paper's
(preset=paper) differ they stand beside. A task changes some of them, and dynamics=true a few more; the settings that a
run was made with stand in its config.yaml.
"""


def _help() -> str:
    lines = [INTRO, "\b", f"command: {TrainWords.__doc__}", *describe(fields_of(TrainWords).values()), ""]
    for name, group in GROUPS.items():
        title = f"{name}: {(group.__doc__ or '').strip()}"
        lines += ["\b", title, *describe(fields_of(group).values(), PRESETS[DEFAULT_PRESET], "paper"), ""]
    return "\n".join(lines)


HELP = _help()


def command(words: Words = None) -> None:
    """Trains, evaluates and draws; its help is HELP, as with the other commands."""
    settings = parse_words(words or [])
    own = build(TrainWords, {name: settings.pop(name) for name in fields_of(TrainWords) if name in settings})
    if own.dry_run and "resume" in settings:
        raise SettingError("dry_run=true is for a new run. Leave resume= out, or dry_run=.")
    if "resume" in settings:
        check_resumable(settings)
    else:  # before torch is loaded, so that a mistake is answered at once
        settings = with_file(settings)
        check_settings(settings)

    from diffmaac.session import complete, prepare

    if own.dry_run:
        from diffmaac.experiments.rehearsal import dry_run

        show(dry_run(settings))
        return
    trainer = prepare(None, settings)
    if not own.quiet:
        typer.echo(f"run directory: {trainer.folder}", err=True)
    try:
        run = complete(trainer, progress=not own.quiet)
    except KeyboardInterrupt:
        raise stopped(f"Go on with `diffmaac train resume={trainer.folder}`.") from None
    if own.quiet:
        typer.echo(run.path)
        return
    echo_lines(run.lines())
    typer.echo(f"learning curve: {run.figure}")
    longer = f"diffmaac train resume={run.path} steps={2 * run.agent.step}"
    typer.echo(f"next: diffmaac report {run.path}  (one page about it), or {longer}")
