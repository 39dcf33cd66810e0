"""What a browser loads for the page with 30 jobs, and when its first picture is there on a slow connection.

`before` is the page of one module that showed whole images in its frames, measured by this file on 2026-11-27.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks._report import Figure, UnavailableError
from tests.localcloud.driving import serving
from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.localcloud.driving import Driver

JOBS = 30
SLOW = 50_000  # bytes per second
LATENCY = 100  # ms
GOAL = 8  # s until the first picture at that speed
HEIGHT = 900  # px of the window: what is far below it is not loaded
# The page before it had modules, with 6 jobs in its list in place of 12: see the docstring.
BEFORE = {"requests": 39, "kilobytes": 4215, "again": 59.9, "seconds": 31.8}
# Notes when the first picture of the job in the frames is there, in ms since the page was asked for.
FIRST = """
    document.addEventListener("load", ({ target }) => {
      if (target.closest?.("#frames")) window.firstPicture ??= performance.now();
    }, true);
"""


def measure() -> Iterator[Figure]:
    if MAY_BE_SKIPPED:
        raise UnavailableError("it needs Chromium and its driver (apt-get install chromium chromium-driver)")
    with serving() as cloud, tempfile.TemporaryDirectory() as profile, browsing(Path(profile)) as browser:
        shown = _jobs(cloud)
        browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FIRST})
        browser.look(1280, "light", HEIGHT)
        url = f"{cloud.api}/#token={cloud.tokens[0]}&job={shown}"
        _clear(browser, cloud)
        requests, size, seconds = _visit(browser, url)
        yield Figure("requests of the first view", requests, "", "before", BEFORE["requests"])
        yield Figure("… kB", size / 1000, "kB", "before", BEFORE["kilobytes"])
        _, size, _ = _visit(browser, url)
        yield Figure("… kB of the second view", size / 1000, "kB", "before", BEFORE["again"])
        _clear(browser, cloud)
        browser.driver.set_network_conditions(
            latency=LATENCY, download_throughput=SLOW, upload_throughput=SLOW
        )
        _, _, seconds = _visit(browser, url)
        yield Figure(
            "first picture at 50 kB/s",
            seconds,
            "s",
            "before",
            BEFORE["seconds"],
            at_most=GOAL / BEFORE["seconds"],
        )


def _jobs(cloud: Driver) -> str:
    """Make the jobs; return the newest."""
    first = cloud.start()
    cloud.end_of(first)
    ids = [first]
    for _ in range(JOBS - 1):
        answer = cloud.request("POST", "/api/v1/jobs", json={"photo_of": first})
        ids.append(answer.json()["job_id"])
    for job_id in ids:
        cloud.end_of(job_id, within=300)
    return ids[-1]


def _clear(browser: Browser, cloud: Driver) -> None:
    """Forget the session and what the browser has loaded."""
    browser.open(cloud.api)
    browser.driver.execute_script("localStorage.clear(); sessionStorage.clear()")
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    browser.open("about:blank")


def _visit(browser: Browser, url: str) -> tuple[int, int, float]:
    """Open the page until nothing loads any more; return requests, bytes, and seconds until the first picture."""
    browser.patience = 180
    browser.driver.get_log("performance")  # type: ignore[no-untyped-call]  # selenium does not annotate it
    browser.open(url)
    first = browser.until(lambda: browser.driver.execute_script("return window.firstPicture"), "a picture")
    browser.find(".card")
    requests = size = 0
    while True:
        events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]  # type: ignore[no-untyped-call]  # as above
        answers = [one["params"] for one in events if one["method"] == "Network.responseReceived"]
        # start.js fetches each module, and its import takes the module from the browser's cache.
        requests += sum(not one["response"].get("fromDiskCache") for one in answers)
        loaded = [one["params"] for one in events if one["method"] == "Network.loadingFinished"]
        size += sum(one["encodedDataLength"] for one in loaded)
        if not loaded:
            return requests, size, first / 1000
        browser.driver.execute_async_script("setTimeout(arguments[0], 1000)")
