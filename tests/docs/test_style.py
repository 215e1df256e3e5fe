"""Plain English in what users read: no words that made readers stop, and sentences that can be read once."""

import ast
import csv
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, ROOT, name_of, prose

LONGEST, MEAN = 35, 15  # words of a sentence, and of a page's sentences on average
with open(ROOT / "docs" / "avoided.csv", encoding="utf-8", newline="") as file:
    AVOIDED = {row["words"]: row["instead"] for row in csv.DictReader(file)}


def avoided(text: str) -> dict[str, str]:
    """Words of the list that the text has, with what to write instead."""
    flat = " ".join(re.sub(r"`[^`\n]+`", "`", text).lower().split())
    return {words: instead for words, instead in AVOIDED.items() if re.search(rf"\b{words}\b", flat)}


def sentences(text: str) -> Iterator[str]:
    """Of paragraphs and lists; code counts as a word, tables and headings are left out."""
    text = re.sub(r"`[^`\n]+`|\$[^$]+\$", "x", text)
    text = re.sub(r"^(?:[|#:{]|---).*$", "", re.sub(r"\]\([^)]*\)", "]", text), flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) ", text, flags=re.MULTILINE):
        yield from filter(None, re.split(r"(?<=[.!?:;])\s+|\s·\s", paragraph.strip()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_avoided_words(document: Path) -> None:
    assert avoided(prose(document)) == {}


def texts(module: Path) -> Iterator[str]:
    """What a module says: docstrings and messages, with an x for what is put into them, and comments."""
    source = module.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


MODULES = [path for folder in ("sb3_trpo", "benchmarks", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("module", [path for path in MODULES if path != Path(__file__)], ids=name_of)
def test_avoided_words_in_code(module: Path) -> None:
    assert [found for text in texts(module) if (found := avoided(text.replace("``", "`")))] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_sentences_are_short(document: Path) -> None:
    lengths = {sentence: len(sentence.split()) for sentence in sentences(prose(document))}
    assert [sentence for sentence, length in lengths.items() if length > LONGEST] == []
    assert sum(lengths.values()) <= MEAN * len(lengths)


def test_the_checks_see_what_they_judge() -> None:
    text = (
        "# A heading\n\nThe step\nshall `simply` be taken, and `one thing` more.\n\n- A list. Its `code`.\n\n| a | table |\n"
    )
    assert avoided(text) == {"shall": "must; will"}
    assert [len(sentence.split()) for sentence in sentences(text)] == [9, 2, 2]


def test_texts_of_a_module_are_seen(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""It shall."""\nsaid = 1  # it shall\nprint(f"{said} shall")\n')
    assert [text for text in texts(tmp_path / "module.py") if avoided(text)] == [
        "It shall.",
        "x shall",
        " shall",
        "# it shall",
    ]
