"""Times of functions that take turns, so that a change in the machine's load meets all of them."""

import statistics
import time
from collections.abc import Callable, Sequence

Function = Callable[[], object]


def milliseconds(function: Function) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def in_turn(functions: Sequence[Function], repeats: int, warm_up: int = 1) -> list[list[float]]:
    """Milliseconds of each function, `repeats` times, after `warm_up` rounds that do not count (the first compiles)."""
    for _ in range(warm_up):
        for function in functions:
            function()
    rounds = [[milliseconds(function) for function in functions] for _ in range(repeats)]
    return [list(times) for times in zip(*rounds, strict=True)]


def medians(functions: Sequence[Function], repeats: int, warm_up: int = 1) -> list[float]:
    """The median of each function's milliseconds, taken in turn."""
    return [statistics.median(times) for times in in_turn(functions, repeats, warm_up)]
