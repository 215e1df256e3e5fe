"""Tables in Markdown, and their places in the documents."""

from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with this head; all cells are text."""
    lines = ["| " + " | ".join(head).strip() + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def ratio(row: Mapping[str, float], digits: int = 1) -> str:
    """Median and range: **2.8** (2.7–2.9)."""
    return f"**{row['ratio']:.{digits}f}** ({row['low']:.{digits}f}–{row['high']:.{digits}f})"


def fill(text: str, name: str, found: str) -> str:
    """The text with the table between the marks of its name, if it has these."""
    head, begin, rest = text.partition(f"<!-- {name} -->\n")
    tail = rest.partition(f"<!-- end {name} -->")[2]
    return f"{head}{begin}{found}\n<!-- end {name} -->{tail}" if begin else text
