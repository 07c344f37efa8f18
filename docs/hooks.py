"""What the documentation site needs beyond its pages: files of the repository as pages, links to them, and
what search engines show of a page.
"""

import html
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
_TITLE = "Search videos for moments"  # of the first page; the name of the site follows
# Pages that answer a reader's question come before those that only use its words.
_BOOSTED = {
    f"{name}.md" for name in ("installation", "your-videos", "searching", "training", "concepts", "faq")
}
_NO_TEXT = ("#", "```", "    ", "|", "!", "-", "<")  # how a block begins that is not a paragraph
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
    page.meta["description"] = _first_paragraph(markdown)
    if page.file.src_uri in _BOOSTED:
        page.meta["search"] = {"boost": 3}
    if page.file.src_uri == "index.md":
        page.meta["title"] = _TITLE

    def mended(link: re.Match[str]) -> str:
        text, target, anchor = link[1], (_ROOT / path.parent / link[2]).resolve(), link[3] or ""
        if target in pages:
            return f"[{text}]({pages[target]}{anchor})"
        if target.is_relative_to(_ROOT / "docs"):
            return f"[{text}]({target.relative_to(_ROOT / 'docs')}{anchor})"
        return text if target.exists() else link[0]

    return _LINK.sub(mended, markdown)


def _first_paragraph(markdown: str) -> str:
    """What a page begins with, without its marks: whole sentences, for an attribute in HTML."""
    blocks = (block.strip("\n") for block in markdown.split("\n\n"))
    first = next((block for block in blocks if block.strip() and not block.startswith(_NO_TEXT)), "")
    text = " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", first).replace("`", "").replace("*", "").split())
    return html.escape(text[: text.rfind(".") + 1] or text)
