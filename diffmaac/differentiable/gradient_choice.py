"""Which gradient a step takes: the one that is named, or the fastest exact one."""

import logging

import mujoco
import torch

from diffmaac import physics
from diffmaac.errors import DiffmaacError, unknown
from diffmaac.physics import AbstractGradient, EngineGradient, FiniteDifference

_LOGGER = logging.getLogger(__name__)
GRADIENTS = ("auto", "implicit", "engine", "unrolled", "finite_difference")
PARAMETRIC = ("engine", "finite_difference")
"""Those that differentiate by parameters, too."""
UNROLLED_ITERATIONS = 10
"""Six converge on half_cheetah's contact states; the rest is a margin for others."""
SMALL_MODEL = 5
"""Degrees of freedom up to which `gradient="auto"` takes central differences on a CPU: inverse dynamics takes as long
there (docs/results/zoo.md), and errs more."""


def choose(
    model: mujoco.MjModel, frame_skip: int, gradient: str | AbstractGradient, parametric: bool
) -> AbstractGradient:
    """The gradient of that name, or the object itself; `parametric` where it is to take parameters of the model.

    Raises DiffmaacError where there is none of that name, and where it takes no parameters.
    """
    if parametric and gradient == "auto":
        return _fastest_of_engine(model, frame_skip)[0]
    if parametric and not (isinstance(gradient, EngineGradient | FiniteDifference) or gradient in PARAMETRIC):
        raise DiffmaacError(
            f"gradient={gradient} takes no parameters; expected one of auto, {', '.join(PARAMETRIC)}, or their objects."
        )
    if isinstance(gradient, AbstractGradient):
        return gradient
    makers = {
        "implicit": lambda: physics.ImplicitGradient(),
        "engine": EngineGradient,
        "unrolled": lambda: physics.UnrolledGradient(UNROLLED_ITERATIONS),
        "finite_difference": FiniteDifference,
    }
    if gradient in makers:
        return makers[gradient]()
    if gradient != "auto":
        raise DiffmaacError(unknown("gradient", gradient, GRADIENTS))
    chosen, reason = _fastest(model, frame_skip)
    _LOGGER.info("gradient=auto takes %s: %s", chosen, reason)
    return chosen


def _fastest(model: mujoco.MjModel, frame_skip: int) -> tuple[AbstractGradient, str]:
    """The fastest exact gradient, and why. On a CPU that of MJX is seldom faster, and compiles for a minute."""
    if torch.cuda.is_available():
        try:
            physics.ImplicitGradient().control_step(model, frame_skip)
            return physics.ImplicitGradient(), "torch has CUDA, and MJX can load the model"
        except physics.UnsupportedModel as error:
            _LOGGER.warning("gradient=auto leaves MJX: %s", error)
    if model.nv <= SMALL_MODEL:
        return FiniteDifference(), f"the model has {model.nv} degrees of freedom, at most {SMALL_MODEL}"
    return _fastest_of_engine(model, frame_skip)


def _fastest_of_engine(model: mujoco.MjModel, frame_skip: int) -> tuple[AbstractGradient, str]:
    try:
        physics.check_model(model, frame_skip)
    except physics.UnsupportedModel as error:
        _LOGGER.warning("gradient=auto takes central differences of the C engine: %s", error)
        return FiniteDifference(), "inverse dynamics cannot do the model"
    return EngineGradient(), "it is exact, compiles nothing and is faster than central differences"
