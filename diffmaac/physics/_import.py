"""Imports MJX without the two lines that it prints where its Warp backend, unused here, is not installed."""

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):
    import mujoco.mjx as mjx  # noqa: F401  (importing it is the point)
