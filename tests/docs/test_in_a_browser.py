"""The built site in a real browser: no page is wider than the window, no picture is broken, the search finds the answers.

Needs ``make docs``, the package ``playwright`` and an installed Chromium; skipped without.
"""

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.docs.test_search import QUESTIONS
from tests.documents import ROOT

SITE = ROOT / "docs" / "_build"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None or not SITE.is_dir(), reason="needs Chromium and a built site (make docs)")


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_pages_fit(browser: Any, address: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    missing: list[str] = []
    page.on("response", lambda response: missing.append(response.url) if response.status >= 400 else None)
    names = [str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_modules" not in path.parts]
    for name in names:
        page.goto(f"{address}/{name}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
        broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
        assert page.evaluate(broken) == [], name
    assert missing == [] and len(names) > 20
    page.close()


@pytest.mark.parametrize(("question", "answer"), list(QUESTIONS.items())[:3])
def test_the_search_finds_the_answer(browser: Any, address: str, question: str, answer: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={question.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_timeout(500)
    found = page.evaluate("[...document.querySelectorAll('#search-results li a')].slice(0, 3).map(link => link.href)")
    assert any(f"/{answer}.html" in link for link in found), found
    page.close()
