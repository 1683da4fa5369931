"""Odd values of a setting, as words of the command line, drawn from what its metadata allows and what it does not."""

import dataclasses
import math
from typing import Any, get_args, get_origin

import hypothesis.strategies as st

from diffmaac.settings import about

COUNT, SHARE = 10**6, 10.0**6
"""Above what any setting without an upper bound can mean."""

NO_SCALAR = (
    *("{a: 1}", "{a: {b: [1]}}", "{1: 2}", "{true: 1}", "{null: 1}", "{}", "[[1]]", "[1, [2, [3]]]", "[{a: 1}]"),
    *("!!set {a, b}", "&a [1, *a]", "&a {b: *a}", "{<<: {a: 1}}", "[1, null]", "[1, x]", "[.nan]"),
    *("null", "~", "2020-01-01", "2020-01-01T00:00:00Z", "a: b", "? a", "!!omap [a: 1]"),
    *("${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${value}", "${seed}", "[${seed}]", "${a.b}", "${oc.decode:'1'}"),
)
"""YAML that means nothing to any setting, text aside."""
NUMBERS = (
    *("99999999999999999999", "-99999999999999999999", "1" + "0" * 400, "9" * 5000, "-1", "-7", "1e400", "-1e400"),
    *("1e308", "-1e308", "nan", ".nan", "inf", ".inf", "-.inf", "-0.0", "1e-400", "0.5", "1.0", "1e3", "0", "2", "00"),
    *("0x1F", "0o17", "0b1", "1_000", "1:40", "+3", "9223372036854775808", "4294967296", "1e19", "1__0", "1e"),
)
TEXTS = (
    *("x", "true", "false", "yes", "off", "'true'", "True", "None", "auto", "run", "cem", "a=b", "=", "1,2,3"),
    *("!!python/object:os.system x", "!!python/object/apply:os.system [ls]", "!!python/name:os.system"),
    *(
        "!!int x",
        "!!float x",
        "!!bool x",
        "!!int '3'",
        "!!str 3",
        "!!null ''",
        "!!timestamp 1",
        "!!binary aGk=",
        "!x 1",
    ),
    *("&a 1", "*a", "${", "$", "- 1", "'", '"', "[", "{", "]", "}", "[1,2", "[''", "[]", "''", "#", " ", "  3", "\\"),
    *(
        "---",
        "...",
        "--- 1\n--- 2",
        "|\n x",
        ">",
        "%",
        "@",
        "`",
        "-",
        "--",
        "-x",
        "?",
        "!",
        "&",
        "*",
        "\t",
        "a\nb",
        "a\r",
    ),
    *("\x1b[31mred", "\x07", "\x85", "\u2028", "\u202e", "\ufeff1", "\udcff", "é", "机器", "🦾", "١٢", "²"),
    *(
        '"\\0"',
        '"\\ud800"',
        '"a\\nb.png"',
        '"\\e[31m.png"',
        "..",
        ".",
        "~root",
        "/dev/null",
        "/dev/full",
        "/dev/null/x",
        "/proc/self/x",
        "no/such/x.png",
    ),
    *("x.png", "1.png", "x.csv", "x.mp4", "x" * 5000, "x/" * 3000, "[" * 2000, "{a: " * 2000),
)


def odd(f: dataclasses.Field[Any]) -> st.SearchStrategy[tuple[str, bool]]:
    """Values of the setting `f`, and whether each must be refused."""
    kind, words = kind_of(f), about(f).words
    general = st.sampled_from([*NO_SCALAR, *NUMBERS, *TEXTS]).map(lambda text: (text, False))
    refused = st.sampled_from(_refused(f, kind) or ["\x1b"]).map(lambda text: (text, True))
    taken = st.sampled_from([*_taken(f, kind), *words]).map(lambda text: (text, False))
    return st.one_of(general, general, refused, taken, _yaml().map(lambda text: (text, False)))


def every(f: dataclasses.Field[Any]) -> list[tuple[str, bool]]:
    """All values of the setting `f` that `odd` draws from lists."""
    kind = kind_of(f)
    known = {text: True for text in _refused(f, kind)} | {text: False for text in _taken(f, kind)}
    return [*known.items(), *((text, False) for text in (*NO_SCALAR, *NUMBERS, *TEXTS) if text not in known)]


def kind_of(f: dataclasses.Field[Any]) -> Any:
    """int, float, bool, str or list; of a setting with words the other type."""
    kinds = [kind for kind in (get_args(f.type) or (f.type,)) if kind is not str] if about(f).words else [f.type]
    return get_origin(kinds[0]) or kinds[0]


def _refused(f: dataclasses.Field, kind: Any) -> list[str]:
    """Of another type, or out of range."""
    if kind is str or get_args(f.type) == (str,):
        return ["nonsense", "-1", "x" * 5000, *NO_SCALAR] if about(f).choices else []
    if kind is bool:
        return ["-1", "2", "99999999999999999999", "1.0", "0.0", "1e400", "nan", "x", "[true]", *NO_SCALAR]
    low, high = about(f).low, about(f).high
    whole = kind is not float
    above = [high + 1, 2 * high + 1, 10**20] if high is not None else [COUNT**2, 2**63, 10**20] if whole else []
    below = [low - 1, -(10**20)] if low is not None else []
    texts = [*(str(x) for x in (*above, *below)), "nan", ".nan", ".inf", "-.inf", "1e400", "true", "false", "x"]
    texts += ["1.5", "0.5", "-0.5", "1e308"] if whole else []
    listed = [f"[{text}]" for text in texts] + ["true"] if kind is list else texts
    return [*listed, *NO_SCALAR]


def _taken(f: dataclasses.Field, kind: Any) -> list[str]:
    """Allowed, and small."""
    if kind is bool:
        return ["true", "false"]
    if kind is str or get_args(f.type) == (str,):
        return [*about(f).choices] or ["x"]
    low, high = about(f).low, about(f).high
    least, step = (0 if low is None else low), 1 if kind is not float else 1e-3
    numbers = [x for x in (least, least + step, least + 2 * step) if high is None or x <= high]
    return [f"[{x},{x}]" if kind is list else str(x) for x in numbers if math.isfinite(x)]


def _yaml() -> st.SearchStrategy[str]:
    """Flow style YAML of any shape, and text that may be none."""
    leaves = st.one_of(
        st.integers(-3, 10**20).map(str),
        st.floats().map(str),
        st.sampled_from(["null", "true", "x", "''", "*a", "&a x", "!!int x", "${x}", "!x y", ".nan"]),
    )
    trees = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
            st.lists(st.tuples(leaves, inner), max_size=2).map(
                lambda pairs: "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
            ),
        ),
        max_leaves=6,
    )
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    return st.one_of(trees, text)
