# The names of the `mujoco` module come from a C extension without stubs.
from typing import Any

def __getattr__(name: str) -> Any: ...
