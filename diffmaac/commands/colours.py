"""Help in colours where a terminal shows them: the plain text, with names, values and ranges picked out in it.

Typer's own rich help reads brackets as markup, and our help is full of them. So typer makes plain text here, and what
stands in it is only found, never parsed.
"""

from typing import Any

import typer.core
from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.text import Text
from rich.theme import Theme


class _Parts(RegexHighlighter):
    """The parts of a help text; a pattern's named group is the style of what it finds."""

    base_style = "help."
    highlights = [  # noqa: RUF012 - so the base class has it
        r"(?m)^(?P<title>Usage|Options|Arguments|Commands)(?=:)",
        r"(?m)^ +(?P<title>[a-z]+)(?=: [A-Z])",  # a group of settings
        r"(?m)^ +(?P<name>[a-z_0-9]+)=(?P<value>\S+)(?=  )",  # a setting and its default
        r"(?m)(?P<aside> \[[^\[\]\n]+\](?: \(\w+: [^\n]*\))?| \(paper: [^\n]*\))$",  # what is allowed; another preset's
        r"(?m)^ +(?P<code>diffmaac .+?)(?=   |$)",
        r"(?P<code>`[^`\n]+`)",
        r"(?m)^ +(?P<name>--[a-z-]+|[a-z][a-z-]+)(?=  +[A-Z])",  # an option or a command, and what it does
    ]


_THEME = Theme(
    {
        "help.title": "bold yellow",
        "help.name": "bold cyan",
        "help.value": "green",
        "help.aside": "dim",
        "help.code": "cyan",
    },
    inherit=False,
)


def coloured(text: str, ctx: Any) -> str:
    """`text` in colours where standard output is a terminal that has them and NO_COLOR is not set, else as it is."""
    console = Console(theme=_THEME, legacy_windows=False)
    if console.color_system is None or console.no_color:
        return text
    ctx.color = True  # else what FORCE_COLOR asks for would be stripped on its way through a pipe
    with console.capture() as captured:
        console.print(_Parts()(Text(text)), soft_wrap=True, end="")
    return captured.get()


def _arguments(command: Any) -> list[str]:
    """What a command takes, as its arguments write it; typer would add brackets to those that are there."""
    return ["[OPTIONS]", *(p.metavar for p in command.params if p.param_type_name == "argument")]


class ColouredCommand(typer.core.TyperCommand):
    """A command whose help has colours."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return _arguments(self)

    def get_help(self, ctx: Any) -> str:
        return coloured(super().get_help(ctx), ctx)


class ColouredGroup(typer.core.TyperGroup):
    """The commands, whose help has colours."""

    def get_help(self, ctx: Any) -> str:
        return coloured(super().get_help(ctx), ctx)
