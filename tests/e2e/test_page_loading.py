"""How the page loads where few functions run at the same time, as in a new AWS account. Each file is an invocation."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from tests.localcloud.http_server import HttpServer, Request, Response, json_message
from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing, short_pauses
from tests.support.page_function import answer_of, page_with

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
AT_ONCE = 4  # functions. A browser sends six requests at once over HTTP/1.1, and all of them over HTTP/2.
SECONDS = 0.075  # of an invocation


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

    def answer(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        self.requested[path] += 1
        refusal = json_message(500, "Internal Server Error")
        if not self.free.acquire(blocking=False):
            self.refused.append(path)
            return refusal
        try:
            time.sleep(SECONDS)
        finally:
            self.free.release()
        if self.requested[path] <= self.failing[path]:
            return refusal
        return Response(*answer_of(self.page, request.target))


@contextmanager
def serving_page(page: ModuleType, **failing: int) -> Iterator[Gateway]:
    """Serve the page. Of the named files, so many of the first requests fail."""
    gateway = Gateway(page, Counter({f"/page/{name}": count for name, count in failing.items()}))
    with HttpServer().start(gateway.answer) as server:
        gateway.url = f"{server.url}/"
        yield gateway


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
    with window.starting_with(short_pauses(100)), serving_page(page, **{"wall.js": 1000}) as gateway:
        window.open(gateway.url)
        window.says("#not-loaded", "This page could not be loaded. Reload it.")
        window.find("#not-loaded [lang=ko]")
        assert window.driver.execute_script("return window.pauses") == [1, 2, 4, 8, 16, 32]
        assert not window.all("#sign-in")
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


def test_page_without_its_first_script_is_explained(window: Browser, page: ModuleType) -> None:
    with serving_page(page, **{"start.js": 1000}) as gateway:
        window.open(gateway.url)
        assert not window.all("#not-loaded")  # the script may be slow
        window.driver.execute_cdp_cmd("Animation.enable", {})
        window.driver.execute_cdp_cmd("Animation.setPlaybackRate", {"playbackRate": 50})
        try:
            assert "This page could not be loaded. Reload it." in window.find("#not-loaded").text
        finally:
            window.driver.execute_cdp_cmd("Animation.setPlaybackRate", {"playbackRate": 1})
            window.driver.execute_cdp_cmd("Animation.disable", {})


def test_page_without_script_and_stylesheet_is_explained(window: Browser, page: ModuleType) -> None:
    with serving_page(page, **{"start.js": 1000, "page.css": 1000}) as gateway:
        window.open(gateway.url)
        window.find("#not-loaded")


def test_refused_stylesheet_is_loaded_again(window: Browser, page: ModuleType) -> None:
    with serving_page(page, **{"page.css": 2}) as gateway:
        window.open(gateway.url)
        window.find("#sign-in")
        wall = "return getComputedStyle(document.body).backgroundColor"
        window.until(
            lambda: window.driver.execute_script(wall) == "rgb(243, 239, 232)", "the page's own colour"
        )
        assert not window.all("#not-loaded")
    assert gateway.requested["/page/page.css"] == 3  # then the browser has kept it
