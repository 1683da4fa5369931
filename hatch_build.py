"""Build hook: in the description that a package index shows, the README's links lead to the repository.

A link such as docs/faq.md means nothing there, and a picture would be broken.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^]]*)\]\((?!\w+:|#)(?P<path>[^)]+)\)")


def absolute(text: str, repository: str, version: str) -> str:
    """`text` with every link to a file of the repository made complete: pages to be read, pictures to be loaded."""

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found["picture"] else "blob"
        return f"{found['picture']}[{found['text']}]({repository}/{kind}/v{version}/{found['path']})"

    return LINK.sub(link, text)


class CustomMetadataHook(MetadataHookInterface):
    """Makes the readme of the project's own README.md, address and version."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        complete = absolute(text, metadata["urls"]["Repository"], metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": complete}
