"""Build hook: the README as the package index shows it, and the links beside it.

Hugging Face Spaces read their configuration from the front matter of ``README.md``, which the
index would show as a heading. The index has no files beside the README, so links are made absolute.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Fill in the dynamic fields ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the fields of ``[project]``."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": index_readme(text, repository_url(), os.environ.get("GITHUB_REF_NAME", "main")),
        }
        repository = repository_url()
        if repository is not None:
            metadata["urls"] = {
                "Source": repository,
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Documentation": f"{repository}/tree/main/docs",
                "Issues": f"{repository}/issues",
            }


def repository_url() -> str | None:
    """The address of the repository that GitHub Actions builds; None elsewhere."""
    name = os.environ.get("GITHUB_REPOSITORY")
    return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}" if name else None


def index_readme(text: str, repository: str | None, ref: str) -> str:
    """The README without front matter and with absolute links.

    Without a repository, links become plain text and images are left out.

    >>> index_readme("---\\nsdk: gradio\\n---\\n\\n# App: [Docs](docs/b.md)", None, "main")
    '# App: Docs'
    """
    text = re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)

    def absolute(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if repository is None:
            return "" if picture else label
        view = "raw" if picture else "blob"
        return f"{picture}[{label}]({repository}/{view}/{ref}/{target})"

    return _LINK.sub(absolute, text)
