"""Rebuild every picture and table of README.md, benchmarks/README.md and docs from the files in ``benchmarks/results``.

python -m benchmarks.report
"""

from pathlib import Path

from benchmarks.catalogue import STUDIES, load
from benchmarks.common import markdown

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "benchmarks/README.md", "docs/results.md", "docs/guides/vine.md", "docs/guides/checkpoints.md")
]


def tables() -> dict[str, str]:
    """Every table by its name in the documents."""
    return {name: make() for study, _ in map(load, STUDIES) for name, make in study.tables.items()}


def main() -> None:
    for study, _ in map(load, STUDIES):
        for plot in study.plots:
            plot()
    found = tables()
    for document in DOCUMENTS:
        text = document.read_text()
        for name, table in found.items():
            text = markdown.fill(text, name, table)
        document.write_text(text)


if __name__ == "__main__":
    main()
