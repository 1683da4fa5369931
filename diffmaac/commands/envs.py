"""`diffmaac envs`."""

import typer

from diffmaac.commands.show import print_table
from diffmaac.result import Table
from diffmaac.tasks import get_task, task_names

HELP = "List the tasks: sizes, time step, episode, reward and where it is from."


def command() -> None:
    """Lists the tasks."""
    header = ["task", "obs", "act", "dt [s]", "steps", "reward on s, a", "reference"]
    tasks = [get_task(name) for name in task_names()]
    cells = [
        [t.name, str(t.obs_size), str(t.action_size), f"{t.dt:g}", str(t.episode_steps), t.reward_text, t.reference]
        for t in tasks
    ]
    print_table(Table(header, cells))
    typer.echo("Any Gymnasium environment is a task, too: env=Pendulum-v1, env=package:Name-v0. Its reward is learned.")
