"""How the page loads where few functions run at the same time, as in a new AWS account. Each file is an invocation."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing
from tests.support.page_function import EVENT, page_with

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
AT_ONCE = 4  # functions. A browser sends six requests at once over HTTP/1.1, and all of them over HTTP/2.
SECONDS = 0.075  # of an invocation
REFUSAL = json.dumps({"message": "Internal Server Error"}).encode()
# Makes pauses 100 times as short, and notes them.
SHORT_PAUSES = """
    const real = setTimeout;
    window.pauses = [];
    window.setTimeout = (end, milliseconds) => {
      window.pauses.push(milliseconds / 1000);
      return real(end, milliseconds / 100);
    };
"""


@dataclass
class Gateway:
    """API Gateway before the function of the page.

    Args:
        page: The function's module.
        failing: How many of the first requests for a path fail, whatever else runs.
    """

    page: ModuleType
    failing: Counter[str]
    url: str = ""
    requested: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))

    def answer(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        path, _, query = target.partition("?")
        self.requested[path] += 1
        refusal = (500, {"Content-Type": "application/json"}, REFUSAL)
        if not self.free.acquire(blocking=False):
            self.refused.append(path)
            return refusal
        try:
            time.sleep(SECONDS)
        finally:
            self.free.release()
        if self.requested[path] <= self.failing[path]:
            return refusal
        answer = self.page.handler({**EVENT, "rawPath": path, "rawQueryString": query, "headers": {}}, None)
        return answer["statusCode"], answer["headers"], base64.b64decode(answer["body"])


@contextmanager
def serving_page(page: ModuleType, **failing: int) -> Iterator[Gateway]:
    """Serve the page. Of the named files, so many of the first requests fail."""
    gateway = Gateway(page, Counter({f"/page/{name}": count for name, count in failing.items()}))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = gateway.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gateway.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return page_with(monkeypatch)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile: Path = tmp_path_factory.mktemp("profile")
    with browsing(profile) as browser:
        yield browser


def modules_of(page: ModuleType) -> set[str]:
    """Return the paths of the page's modules."""
    return {path for path in page.FILES if path.endswith(".js") and not path.startswith("/page/docs")}


@pytest.mark.parametrize("name", ["wall.js", "en.json"])
def test_page_comes_up_although_few_functions_run(window: Browser, page: ModuleType, name: str) -> None:
    with serving_page(page, **{name: 1}) as gateway:
        window.open(gateway.url)
        window.find("#sign-in")
        assert window.find("#sign-in .main").text == "Sign in"
        assert not window.all("#not-loaded")
    assert gateway.refused == []
    expected = dict.fromkeys(modules_of(page), 1) | {f"/page/{name}": 2}
    assert {path: gateway.requested[path] for path in expected} == expected


def test_module_that_never_comes_is_explained(window: Browser, page: ModuleType) -> None:
    short = window.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHORT_PAUSES})
    try:
        with serving_page(page, **{"wall.js": 1000}) as gateway:
            window.open(gateway.url)
            window.says("#not-loaded", "This page could not be loaded. Reload it.")
            window.find("#not-loaded [lang=ko]")
            assert window.driver.execute_script("return window.pauses") == [1, 2, 4, 8, 16, 32]
            assert not window.all("#sign-in")
    finally:
        window.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", short)
    assert gateway.requested["/page/wall.js"] == 7


def test_module_that_does_not_run_is_explained(window: Browser, page: ModuleType) -> None:
    page.FILES["/page/zip.js"].headers["Content-Type"] = "text/plain"  # no browser runs it
    with serving_page(page) as gateway:
        window.open(gateway.url)
        window.says("#not-loaded", "This page could not be loaded. Reload it.")
        window.find("#not-loaded")


def test_second_view_requests_no_module(window: Browser, page: ModuleType) -> None:
    with serving_page(page) as gateway:
        window.open(gateway.url)
        window.find("#sign-in")
        before = gateway.requested.copy()
        window.driver.refresh()
        window.find("#sign-in")
    again = gateway.requested - before
    assert again["/"] == 1
    assert modules_of(page) & again.keys() == set()
