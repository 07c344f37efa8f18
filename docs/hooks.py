"""What the documentation site needs beyond its pages: files of the repository as pages, and links to them."""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT / "docs"))
import commands  # noqa: E402

_PAGES = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)#]*)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that are pages, too."""
    for name, path in _PAGES.items():
        files.append(File.generated(config, name, content=(_ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, "commands.md", content=commands.reference()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links between files of the repository become links between pages; what is no page is named only."""
    path = Path(_PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    pages = {_ROOT / path: name for name, path in _PAGES.items()}

    def mended(link: re.Match[str]) -> str:
        text, target, anchor = link[1], (_ROOT / path.parent / link[2]).resolve(), link[3] or ""
        if target in pages:
            return f"[{text}]({pages[target]}{anchor})"
        if target.is_relative_to(_ROOT / "docs"):
            return f"[{text}]({target.relative_to(_ROOT / 'docs')}{anchor})"
        return text if target.exists() else link[0]

    return _LINK.sub(mended, markdown)
