"""Numbers for the site's pages, read from the committed tables in docs/results when the site is built."""

import csv
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results"
Row = Mapping[str, str]
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "geometric": statistics.geometric_mean,
    "std": lambda x: statistics.stdev(x) if len(x) > 1 else 0.0,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
}
"""Names of functions from the numbers of some rows to one."""


@cache
def read(file: str) -> tuple[Row, ...]:
    """The rows of a table in docs/results."""
    with (RESULTS / file).open(newline="") as stream:
        return tuple(csv.DictReader(stream))


def rows(file: str, **where: Any) -> list[Row]:
    """The rows whose columns have the values `where`; a list names several values.

    Raises ValueError where there are none: a page must not show a number that its table does not hold.
    """
    wanted = {name: [str(v) for v in (value if isinstance(value, list) else [value])] for name, value in where.items()}
    found = [row for row in read(file) if all(row[name] in values for name, values in wanted.items())]
    if not found:
        raise ValueError(f"{file} has no row with {where}.")
    return found


def numbers(file: str, column: str, **where: Any) -> list[float]:
    """The numbers of one column in the rows with `where`, empty cells left out."""
    return [float(row[column].rstrip("%")) for row in rows(file, **where) if row[column] not in ("", "nan")]


def value(file: str, column: str, agg: str = "", form: str = "{:,.0f}", **where: Any) -> str:
    """One number. Without `agg` exactly one row must have the values `where`. Raises ValueError otherwise."""
    found = numbers(file, column, **where)
    if not agg and len(found) != 1:
        raise ValueError(
            f"{file} has {len(found)} numbers in {column} with {where}; name an aggregate or more columns."
        )
    return form.format(AGGREGATES[agg](found) if agg else found[0])


def each(file: str, column: str, form: str = "{:,.0f}", **where: Any) -> str:
    """All numbers, separated by commas: one for each seed, say."""
    return ", ".join(form.format(x) for x in numbers(file, column, **where))


def ratio(over: Sequence[Any], under: Sequence[Any], form: str = "{:.2f}") -> str:
    """The quotient of two numbers, each as (file, column, agg, {where})."""
    above, below = (AGGREGATES[agg](numbers(file, column, **where)) for file, column, agg, where in (over, under))
    return form.format(above / below)


def record(file: str, *keys: Any, form: str = "{:,.0f}") -> str:
    """A number of a JSON file: `keys` lead to it."""
    found = json.loads((RESULTS / file).read_text())
    for key in keys:
        found = found[key]
    return form.format(found)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]], numeric: int = 1) -> str:
    """A Markdown table; columns from number `numeric` on are aligned to the right."""
    rule = ["---" if i < numeric else "---:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *lines])


Cell = Sequence[str]
"""(heading, column, aggregate, format); aggregate "text" shows the first row's cell, "each" all numbers."""


def table(file: str, by: Sequence[str], cells: Sequence[Cell], names: Mapping[str, str] | None = None, **where: Any):
    """A Markdown table with a line for each combination of the columns `by`, in the order of the file."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows(file, **where):
        groups.setdefault(tuple(row[name] for name in by), {name: row[name] for name in by})
    lines = [[*key, *(_cell(file, cell, {**where, **group}) for cell in cells)] for key, group in groups.items()]
    header = [(names or {}).get(name, name) for name in by]
    return markdown([*header, *(cell[0] for cell in cells)], lines, len(by))


def _cell(file: str, cell: Cell, where: Mapping[str, Any]) -> str:
    _, column, agg, form = cell
    if agg == "text":
        return rows(file, **where)[0][column]
    if agg == "each":
        return each(file, column, form, **where)
    found = numbers(file, column, **where)
    return form.format(AGGREGATES[agg](found)) if found else ""


def pivot(
    file: str,
    by: Sequence[str],
    across: str,
    column: str,
    agg: str = "mean",
    form: str = "{:,.0f}",
    names: Mapping[str, str] | None = None,
    **where: Any,
) -> str:
    """A Markdown table with a line for each combination of the columns `by` and a column for each value of `across`."""
    found = rows(file, **where)
    heads = list(dict.fromkeys(row[across] for row in found))
    keys = list(dict.fromkeys(tuple(row[name] for name in by) for row in found))
    have = {(tuple(row[name] for name in by), row[across]) for row in found}
    lines = []
    for key in keys:
        group = {**where, **dict(zip(by, key, strict=True))}
        cells = [
            _cell(file, ("", column, agg, form), {**group, across: head}) if (key, head) in have else ""
            for head in heads
        ]
        lines.append([*key, *cells])
    header = [(names or {}).get(name, name) for name in by]
    return markdown([*header, *(f"{(names or {}).get(across, across)} {head}" for head in heads)], lines, len(by))
