"""What a built page must have: nothing from a network, a title, one heading, and texts for its pictures."""

from html.parser import HTMLParser

EXTERNAL = ("http://", "https://", "//")
LOADS = {
    "img": ("src", "srcset"),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "iframe": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "use": ("href",),
}
"""Tag -> its attributes whose address a browser loads at once."""
LOADING_LINKS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "modulepreload", "manifest"}
"""Kinds of <link> that a browser follows by itself."""


class Page(HTMLParser):
    """What a page loads, its title, its headings, and pictures without a text."""

    def __init__(self, text: str):
        super().__init__()
        self.external: list[str] = []
        self.headings = 0
        self.silent: list[str] = []
        self.title = ""
        self._in_title = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        loaded = [given.get(name, "") for name in LOADS.get(tag, ())]
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            loaded.append(given.get("href", ""))
        self.external += [address for address in loaded if address.startswith(EXTERNAL)]
        self.headings += tag == "h1"
        self._in_title = tag == "title" or self._in_title
        if tag == "img" and not given.get("alt", "").strip():
            self.silent.append(given.get("src", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def faults(text: str) -> list[str]:
    """What is wrong with a built page, a line each."""
    page = Page(text)
    found = [f"loads {address} from a network" for address in page.external]
    found += [f"the picture {source} has no text (alt)" for source in page.silent]
    if not page.title.strip():
        found.append("has no title")
    if page.headings != 1:
        found.append(f"has {page.headings} headings of the first level, not one")
    return found
