"""Imports MJX without the two lines that it prints where its Warp backend, unused here, is not installed."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    from mujoco import mjx as mjx
