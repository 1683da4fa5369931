"""The tasks of diffmaac: the paper's four, two swing-ups of our own and a linear-quadratic one.

One file a task, each with a function of the same name that returns its `diffmaac.task.Task`. `pyproject.toml` announces
them as entry points, which is how `diffmaac.get_task` finds them; their presets are in `presets.py`.
"""
