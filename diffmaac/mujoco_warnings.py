"""What MuJoCo warns of goes to the library's log, at level DEBUG."""

import logging

import mujoco

_LOGGER = logging.getLogger(__name__)


def log_warnings() -> None:
    """Takes MuJoCo's warnings (a state that is no longer finite, for example); who has set a handler keeps it.

    MuJoCo's own way is standard error and a file MUJOCO_LOG.TXT in the working directory. What is no longer finite is
    reported here anyway, by name: DivergenceError.
    """
    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(_LOGGER.debug)
