"""The text of `diffmaac/keywords.py`, made from settings: so an editor knows the words that a function takes.

python -m diffmaac.commands.keywords > diffmaac/keywords.py
"""

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, get_args

from diffmaac.analysis.settings import (
    CheckSettings,
    EvaluateSettings,
    ExportSettings,
    GradientErrorSettings,
    ModelErrorSettings,
    PageSettings,
)
from diffmaac.experiments.settings import PlotSettings, ReproduceSettings, RunsSettings
from diffmaac.settings import FIELDS, fields_of
from diffmaac.settings.field import about, allowed_range, default_value, shown

WIDTH = 116
HEAD = '''"""The keywords of the public functions, for editors and type checkers: the words of the command line.

Written by `python -m diffmaac.commands.keywords`; a test compares it with the settings.
"""

from os import PathLike
from typing import Literal, TypeAlias, TypedDict

Words: TypeAlias = str | list[str]
Numbers: TypeAlias = str | list[int]
'''

COMMANDS: dict[str, type] = {
    "EvaluateKeywords": EvaluateSettings,
    "CheckKeywords": CheckSettings,
    "GradientErrorKeywords": GradientErrorSettings,
    "ModelErrorKeywords": ModelErrorSettings,
    "ReportKeywords": PageSettings,
    "ExportKeywords": ExportSettings,
    "PlotKeywords": PlotSettings,
    "ReproduceKeywords": ReproduceSettings,
    "RunsKeywords": RunsSettings,
}
"""Name of the keywords -> the settings that they are."""
FILES = """
    config: str | PathLike[str]
    \"""YAML file with further settings\"""

    resume: str | PathLike[str]
    \"""run directory to take up where its checkpoint stands\"""
"""


def keywords_text() -> str:
    """The module: a TypedDict for each command's settings, those of a run first."""
    train = [f for name, f in FIELDS.items() if name != "env"]  # which is an argument of its own
    parts = [HEAD, _typed_dict("TrainKeywords", "The settings of a run.", train), FILES]
    for name, settings in COMMANDS.items():
        parts.append(_typed_dict(name, (settings.__doc__ or "").strip(), fields_of(settings).values()))
    return "".join(parts)


def _typed_dict(name: str, meaning: str, fields: Iterable[dataclasses.Field[Any]]) -> str:
    lines = [f"\n\nclass {name}(TypedDict, total=False):\n", f'    """{meaning}"""\n']
    for f in fields:
        allowed = f" [{values}]" if (values := allowed_range(f)) and not about(f).choices else ""
        text = f'"""{about(f).help}{allowed}; default {shown(default_value(f)) or "empty"}"""'
        wrapped = textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ")
        lines.append(f"\n    {f.name}: {_annotation(f)}\n{wrapped}\n")
    return "".join(lines)


def _annotation(f: dataclasses.Field[Any]) -> str:
    known = about(f)
    if get_args(f.type) and not known.words:  # a list
        return "Words" if get_args(f.type) == (str,) else "Numbers"
    if known.choices:
        return f"Literal[{', '.join(map(json.dumps, known.choices))}]"
    if known.words:
        return f"int | Literal[{', '.join(map(json.dumps, known.words))}]"
    return {int: "int", float: "float", bool: "bool", str: "str | PathLike[str]"}[f.type]


if __name__ == "__main__":
    sys.stdout.write(keywords_text())
