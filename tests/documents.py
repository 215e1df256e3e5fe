"""The documents that users read: their code blocks, links and headings."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")), *PAGES]

FENCE = re.compile(
    r"^(?P<why><!-- not run: .+ -->\n)?(?P<fence>```+)(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\[[^][]*\]\((?P<target>[^()\s]+)\)")


def _extension(name: str) -> Any:
    """One of the site's own extensions, which are no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "extensions" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated, elsewhere = _extension("generated"), _extension("elsewhere")


class Block(NamedTuple):
    """A block of code.

    :param language: behind the fence
    :param code: without the fence
    :param line: of the document, at which the code begins
    :param is_run: whether no comment before it says "not run", and why
    """

    language: str
    code: str
    line: int
    is_run: bool


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks(document: Path, *languages: str) -> Iterator[Block]:
    """The document's code blocks in some languages."""
    text = document.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match["language"] in languages:
            line = text.count("\n", 0, match.start("code")) + 1
            yield Block(match["language"], match["code"], line, match["why"] is None)


def commands(document: Path) -> list[str]:
    """The document's command lines, with those of its tables."""
    lines = [line for block in blocks(document, "bash") for line in block.code.replace("\\\n", " ").splitlines()]
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))
    return [
        *lines,
        *(code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(("python -m ", "torchrun ", "pip "))),
    ]


def prose(document: Path) -> str:
    """The document without its code blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", document.read_text(encoding="utf-8")), flags=re.DOTALL)


def links(document: Path) -> set[str]:
    """Where the document's links and pictures lead."""
    return {match["target"] for match in LINK.finditer(prose(document))}


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
