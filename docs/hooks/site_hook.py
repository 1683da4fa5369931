"""MkDocs hook: fills pages with numbers and reference parts, sets formulas, and checks what was built.

In a page ``[[[ value("learning.csv", "return", "mean", task="pendulum") ]]]`` calls a function of `site_numbers`,
`site_measures` or `site_reference` (the language is Jinja). A formula stands between dollar signs and becomes MathML,
which needs no script.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import jinja2
import site_notebooks
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

import site_checks
import site_clips
import site_measures
import site_numbers
import site_reference

ROOT = Path(__file__).parent.parent.parent
CODE = re.compile(r"^(```|~~~).*?^\1\s*$|`[^`\n]+`", re.M | re.S)
DISPLAY, INLINE = re.compile(r"\$\$(.+?)\$\$", re.S), re.compile(r"(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])")


def project_urls() -> dict[str, str]:
    """The addresses of the project, which pyproject.toml alone names."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]


def _source(path: str, text: str = "") -> str:
    """A link to a file of the repository."""
    if not (ROOT / path).exists():
        raise ValueError(f"there is no {path} in the repository.")
    return f"[{text or f'`{path}`'}]({project_urls()['Repository']}/blob/main/{path})"


def environment() -> jinja2.Environment:
    """Functions for the pages. A name that does not exist is an error."""
    env = jinja2.Environment(
        variable_start_string="[[[",
        variable_end_string="]]]",
        block_start_string="[[%",
        block_end_string="%]]",
        comment_start_string="[[#",
        comment_end_string="#]]",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    for module in (site_clips, site_numbers, site_measures, site_reference):
        env.globals |= {k: f for k, f in vars(module).items() if callable(f) and f.__module__ == module.__name__}
    env.globals |= {"source": _source, "include": lambda path: (ROOT / path).read_text(), "urls": project_urls()}
    return env


def fill(text: str, env: jinja2.Environment | None = None) -> str:
    """A page with its functions called."""
    return (env or environment()).from_string(text).render()


def set_formulas(text: str) -> str:
    """Formulas outside of code as MathML."""
    parts, last = [], 0
    for code in CODE.finditer(text):
        parts += [_formulas(text[last : code.start()]), code.group()]
        last = code.end()
    return "".join([*parts, _formulas(text[last:])])


def _formulas(text: str) -> str:
    def flat(found: re.Match[str], display: str) -> str:
        return convert(found[1].strip(), display=display).replace("\n", " ")

    text = DISPLAY.sub(lambda m: f'<div class="formula" tabindex="0">{flat(m, "block")}</div>', text)
    # In a span, since Markdown takes <math> at the beginning of a line for a block of its own.
    return INLINE.sub(lambda m: f"<span>{flat(m, 'inline')}</span>", text)


def summary(text: str) -> str:
    """The first paragraph of a page without its markup: what a search engine shows."""
    paragraph = text.strip().split("\n\n")[1]
    words = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
    return " ".join(re.sub(r"[*`$]", "", words).split())


def on_config(config: Any, **_: Any) -> Any:
    """Called by MkDocs first: canonical addresses, as soon as the project has one."""
    address = project_urls()["Documentation"]
    if "OWNER" not in address:
        config["site_url"] = f"{address}/"
    return config


def is_tutorial(page: str) -> bool:
    """Whether a page, by its place in docs/, is a tutorial, which is a notebook as well."""
    return page.startswith("tutorials/") and page != "tutorials/index.md"


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Called by MkDocs for each page."""
    try:
        filled = fill(markdown)
        page.meta.setdefault("description", summary(filled))
        if is_tutorial(page.file.src_uri):
            site_notebooks.write(filled, Path(config["site_dir"], page.file.src_uri).with_suffix(".ipynb"))
            filled += site_notebooks.offer(page.file.src_uri)
        return set_formulas(filled)
    except (jinja2.TemplateError, ValueError, LookupError, OSError, TypeError) as error:
        raise PluginError(f"{page.file.src_uri}: {type(error).__name__}: {error}") from error


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs for the HTML of each page."""
    return site_clips.quiet(html)


def on_pre_build(**_: Any) -> None:
    """Called by MkDocs before the pages."""
    site_reference.check_commands()
    page = (ROOT / "docs/reference/api.md").read_text()
    missing = [name for name in site_reference.public_names() if f"::: diffmaac.{name}\n" not in page]
    if missing:
        raise PluginError(f"docs/reference/api.md lacks {', '.join(missing)}: write '::: diffmaac.NAME' for each.")


def on_post_build(config: Any, **_: Any) -> None:
    """Called by MkDocs last."""
    site = Path(config["site_dir"])
    found = [
        f"{p.relative_to(site)} {fault}" for p in site.rglob("*.html") for fault in site_checks.faults(p.read_text())
    ]
    if found:
        raise PluginError("the built site has faults:\n" + "\n".join(found))
