"""`diffmaac settings`."""

import typer

from diffmaac.commands.show import Words
from diffmaac.settings import (
    BASIS,
    FIELDS,
    GROUPS,
    about,
    fields_of,
    flatten,
    parse_words,
    resolve,
    with_file,
)
from diffmaac.settings.field import allowed_range, shown
from diffmaac.tasks import check_settings, is_foreign, presets_of

HELP = """Print a settings file to edit: each setting with its value and meaning, those that follow as comments.

\b
  diffmaac settings > my.yaml                          then: diffmaac train config=my.yaml seed=1
  diffmaac settings env=half_cheetah preset=paper > my.yaml
"""
GIVEN = ("env", *BASIS, "seed")
"""What the file says itself; the others follow from it until their line is no comment any more."""


def command(words: Words = None) -> None:
    """Prints the settings as YAML that `config=` reads."""
    given = with_file(parse_words(words or []))
    check_settings(given)
    typer.echo(template(given))


def template(given: dict[str, str]) -> str:
    """The file for a run with the words `given`."""
    env = given.get("env", "pendulum")
    if is_foreign(env):
        from diffmaac.tasks import get_task  # its presets follow from its sizes

        presets = get_task(env).presets
    else:
        presets = presets_of(env)
    values = flatten(resolve(env, presets, given))
    lines = ["# Settings for `diffmaac train config=FILE`. A line that begins with # has the value that follows from"]
    lines += ["# the others; without the # it is yours."]
    for name, group in GROUPS.items():
        lines += ["", f"# {name}: {(group.__doc__ or '').strip()}"]
        for setting, f in fields_of(group).items():
            mark = "" if setting in (*GIVEN, *given) else "# "
            allowed = f" [{text}]" if (text := allowed_range(f)) else ""
            value = shown(values[setting]) or "''"
            lines.append(f"{f'{mark}{setting}: {value}':40} # {about(FIELDS[setting]).help}{allowed}")
    return "\n".join(lines)
