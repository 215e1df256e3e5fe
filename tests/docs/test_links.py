"""Every link between the documents, and from them to files of the repository, leads somewhere."""

from pathlib import Path

import pytest

from tests.documents import DOCUMENTS, ROOT, anchors, elsewhere, links, name_of


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    for target in links(document):
        if target.partition(":")[0] in ("http", "https", "inv"):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(place), f"{target}: no such heading, only {sorted(anchors(place))}"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {ROOT / "docs" / f"{line}.md" for line in (ROOT / "docs" / "index.md").read_text().split("\n")}
    pages = {document for document in DOCUMENTS if ROOT / "docs" in document.parents} - {ROOT / "docs" / "index.md"}
    assert pages <= listed


def test_links_to_the_repository_leave_the_site() -> None:
    docs, base = ROOT / "docs", "https://example.org/blob/HEAD"
    text = "[a](../setup.cfg#x) [b](settings.md) ![c](../benchmarks/results/comparison/comparison.png) [d](https://e.org)"
    assert elsewhere.link_repository_files(text, docs, docs, base) == text.replace("../setup.cfg", f"{base}/setup.cfg")


def test_readme_is_short() -> None:
    """A screen or two: the test command once, which .ci/run looks for, and at most 150 lines."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert sum(line.endswith("python -m pytest") for line in lines) == 1
