"""One HTML page about a run, which opens without a network and needs no other file."""

import base64
import csv
import html
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from diffmaac.analysis import plots
from diffmaac.analysis.settings import PageSettings
from diffmaac.errors import SettingError
from diffmaac.files import replace_text
from diffmaac.keywords import ReportKeywords
from diffmaac.result import Result
from diffmaac.runs.layout import FIGURES, VIDEOS
from diffmaac.runs.metrics import QUARTILES, evaluations, read_evaluation
from diffmaac.runs.settings import stored_settings
from diffmaac.settings import GROUPS, build, check_file, fields_of, flatten

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } td { font-variant-numeric: tabular-nums } svg { max-width: 100%; height: auto }
img, video { max-width: min(100%, 34rem); height: auto; display: block }
.settings { columns: 2 } .settings table { break-inside: avoid; margin-bottom: 1rem } .note { color: #666 }
"""


def report(run: str | PathLike[str], **words: Unpack[ReportKeywords]) -> Result[Path]:
    """Writes a page about the run in directory `run`, as ``diffmaac report`` does; the value is its file.

    `words` are that command's settings. What was measured of the run (`model_error`, `gradient_error`) is shown where
    it lies in its figures.

    Raises CheckpointError where there is no run, SettingError where it has no evaluation yet or a file is missing.
    """
    settings, folder = build(PageSettings, words), Path(run)
    stored, rows = stored_settings(folder), evaluations(folder)
    out = Path(settings.out or folder / "report.html")
    title = f"{stored.run.env}, {stored.run.algorithm}, {stored.run.dynamics} dynamics, seed {stored.run.seed}"
    sections = [
        ("", _summary(folder, rows)),
        ("Learning", plots.metrics_svg(rows)),
        ("Where the time goes", _timing(rows)),
        ("Model and gradient", _measured(folder)),
        ("Episode", "".join(map(_embedded, _videos(folder, settings.video)))),
        ("Settings", _settings(flatten(stored))),
    ]
    body = "".join(f"<h2>{heading}</h2>{text}" if heading else text for heading, text in sections if text)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    replace_text(
        out,
        f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>",
    )
    return Result(out, files=[out])


def _videos(run: Path, video: str) -> list[Path]:
    if not video:
        return sorted((run / VIDEOS).glob("*.mp4"))
    check_file("video", Path(video), (".mp4",))
    if not Path(video).is_file():
        raise SettingError(f"video={video}: there is no such file. `diffmaac evaluate` with video= makes one.")
    return [Path(video)]


def _summary(folder: Path, rows: Sequence[Mapping[str, str]]) -> str:
    last = rows[-1]
    lines = [
        ("environment steps", f"{int(last['step']):,}"),
        ("wall time", f"{float(last['seconds']) / 60:.1f} min"),
        ("return, last evaluation", f"{float(last['return']):.4g} ± {float(last['return_std']):.2g}"),
        *_falls("last evaluation", {name: float(text) for name, text in last.items() if text}),
    ]
    final = read_evaluation(folder, "step", "return", "return_std")
    if final and isinstance(final.get("returns"), list):
        lines += _evaluated(f"evaluation after training, at step {final['step']:,}", final)  # it may have gone on since
        best = final.get("best")
        if isinstance(best, dict) and {"step", "return", "return_std", "returns"} <= best.keys():
            lines += _evaluated(f"best policy, of step {best['step']:,}", best)
    return _table(lines)


def _evaluated(when: str, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    text = f"{record['return']:.4g} ± {record['return_std']:.2g} over {len(record['returns'])} episodes"
    if all(isinstance(record.get(name), int | float) for name in QUARTILES):
        low, middle, high = (f"{record[name]:.4g}" for name in QUARTILES)
        text += f"; median {middle}, quartiles {low} and {high}"
    lines = [(f"return, {when}", text), *_falls(when, record)]
    if isinstance(record.get("solved"), int | float):
        lines.append((f"criterion met, {when}", f"{record['solved']:.0%} of episodes"))
    return lines


def _falls(when: str, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a task that can tell falls: in how many episodes, when, and what they cost."""
    if not isinstance(numbers.get("fall_share"), int | float):
        return []
    words = {"fall_step": "mean step of the first", "reward_upright": "reward a step before it"}
    words["reward_fallen"] = "from it on"
    parts = [
        f"{word} {numbers[name]:.3g}" for name, word in words.items() if isinstance(numbers.get(name), int | float)
    ]
    return [(f"falls, {when}", f"in {numbers['fall_share']:.0%} of episodes; {', '.join(parts)}")]


def _timing(rows: Sequence[Mapping[str, str]]) -> str:
    """Seconds and shares of the parts, summed over the run; nothing for runs of older versions."""
    names = [name for name in rows[-1] if name.startswith("seconds_")]
    totals = {name.removeprefix("seconds_"): sum(float(row[name] or 0) for row in rows) for name in names}
    whole = sum(totals.values())
    if not whole:
        return ""
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    return _table([(name, f"{seconds:.1f} s", f"{seconds / whole:.0%}") for name, seconds in ordered])


def _measured(folder: Path) -> str:
    """The figures that measuring commands left in the run's directory, and the table of `model-error`."""
    names = ("jacobian_error.png", "open_loop_error.png", "gradient_error.png")
    files = [folder / FIGURES / name for name in names if (folder / FIGURES / name).is_file()]
    tables = (folder / FIGURES / name for name in ("model_error.csv", "learned_reward.csv"))
    return "".join(map(_model_table, tables)) + "".join(map(_embedded, files))


def _model_table(file: Path) -> str:
    if not file.is_file():
        return ""
    try:
        with file.open(newline="") as opened:
            rows = list(csv.reader(opened))
    except (csv.Error, UnicodeDecodeError):
        return ""
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return ""
    columns = [i for i, name in enumerate(rows[0]) if name not in ("run", "versions")]
    return _table([[_short(row[i]) for i in columns] for row in rows[1:]], [rows[0][i] for i in columns])


def _settings(flat: Mapping[str, Any]) -> str:
    tables = []
    for group, cls in GROUPS.items():
        names = list(fields_of(cls))
        tables.append(_table([(name, str(flat[name])) for name in names], [group, ""]))
    return f"<div class='settings'>{''.join(tables)}</div>"


def _table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    return f"<table>{line(header, 'th') if header else ''}{''.join(line(row, 'td') for row in rows)}</table>"


def _embedded(file: Path) -> str:
    """The picture or video itself, in the page."""
    data = base64.b64encode(file.read_bytes()).decode()
    if file.suffix == ".mp4":
        return f"<video controls muted loop src='data:video/mp4;base64,{data}'></video>"
    return f"<img alt='{html.escape(file.stem)}' src='data:image/png;base64,{data}'>"


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
