"""Moving pictures: what is seen, from clips.csv, and a still one for readers who asked for less motion."""

import csv
import re
from functools import cache
from pathlib import Path

TASKS = Path(__file__).parent.parent / "reference" / "tasks"
MOVING = re.compile(r'<img(?P<before>[^>]*) src="(?P<stem>[^"]*)_moving\.webp"(?P<after>[^>]*)>')


@cache
def clips() -> dict[str, dict[str, str]]:
    """Task -> its row of the table that `draw_clips.py` writes."""
    with (TASKS / "clips.csv").open(newline="") as file:
        return {row["task"]: row for row in csv.DictReader(file)}


def what_moves(task: str) -> str:
    """What a task's clip shows, as a sentence."""
    row = clips()[task]
    earned, seconds = f"{float(row['return']):,.1f}", f"{float(row['seconds']):.1f} s"
    if row["policy"] == "random":
        return (
            f"The first {seconds} of an episode of **random actions**: no trained policy is at hand for this task."
            f" The whole episode earns {earned}."
        )
    return (
        f"The first {seconds} of an episode of a policy that was trained for {int(row['steps']):,} steps with"
        f" {row['dynamics']} dynamics. The whole episode earns {earned}."
    )


def task_clip(task: str) -> str:
    """The clip of a task and what it shows, on a page beside it."""
    seen = "random actions" if clips()[task]["policy"] == "random" else "a trained policy"
    return f"![{task}, moved by {seen}]({task}_moving.webp){{ width=360 }}\n\n*{what_moves(task)}*"


def quiet(html: str) -> str:
    """A page whose moving pictures stand still where the reader's system asks for less motion."""

    def picture(found: re.Match[str]) -> str:
        still = f'<source media="(prefers-reduced-motion: reduce)" srcset="{found["stem"]}.webp">'
        return f"<picture>{still}{found.group()}</picture>"

    return MOVING.sub(picture, html)
