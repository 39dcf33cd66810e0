"""A real browser: headless Chromium with an empty profile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.environment import CACHE

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
# With REQUIRE_BROWSER, as in CI, the tests fail without a browser.
MAY_BE_SKIPPED = not ((CHROMIUM and CHROMEDRIVER) or os.environ.get("REQUIRE_BROWSER"))
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1280,900",
)
SCREENSHOTS = CACHE / "screenshots"


def short_pauses(times: int) -> str:
    """Return a script that makes the page's pauses so many times as short, and notes them in seconds."""
    return f"""
        const real = setTimeout;
        window.pauses = [];
        window.setTimeout = (end, milliseconds) => {{
          window.pauses.push(milliseconds / 1000);
          return real(end, milliseconds / {times});
        }};
    """


@dataclass
class Browser:
    """A browser with one page open. Each wait ends after `patience` seconds."""

    driver: Chrome
    patience: float = 30  # seconds

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # a change of the fragment alone would not load the page
        self.driver.get(url)

    def until[Found](self, found: Callable[[], Found], what: str) -> Found:
        """Wait until `found` returns a true value; return it."""
        # The page may replace an element between two requests.
        stale = [StaleElementReferenceException]
        return WebDriverWait(self.driver, self.patience, 0.05, stale).until(lambda _: found(), what)

    def all(self, css: str) -> list[WebElement]:
        """Return the visible elements."""
        return [one for one in self.driver.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()]

    @contextmanager
    def starting_with(self, source: str) -> Iterator[None]:
        """Run a script at the start of each page, before the page's own."""
        script = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)

    def find(self, css: str) -> WebElement:
        """Wait for a visible element; return the first."""
        return self.until(lambda: self.all(css), css)[0]

    def click(self, css: str) -> None:
        def clicked() -> bool:
            element = self.find(css)
            if element.is_enabled():
                element.click()
                return True
            return False

        self.until(clicked, f"{css} to be clicked")

    def count(self, css: str, number: int) -> None:
        """Wait until exactly `number` elements are visible."""
        self.until(lambda: len(self.all(css)) == number, f"{number} of {css}")

    def says(self, css: str, words: str) -> None:
        """Wait until the element's text contains `words`."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        try:
            self.until(lambda: words in self.driver.execute_script(script, css), words)
        except TimeoutException:
            said = self.driver.execute_script(script, css)
            raise AssertionError(f"{css} says {said!r}, not {words!r}") from None

    def choose(self, photo: Path) -> None:
        """Choose a file, as the file dialog does."""
        if self.driver.find_elements(By.ID, "composer"):
            self.find("#composer")  # the page's modules run after the load event, which ends `open`
        self.driver.find_element(By.ID, "file").send_keys(str(photo))

    def pictures(self) -> list[str]:
        """Return the URLs of the images that are loaded and visible."""
        script = """
            return [...document.querySelectorAll("#frames img")]
              .filter((img) => img.complete && img.naturalWidth > 0 && img.checkVisibility())
              .map((img) => img.src)
        """
        return [str(src) for src in self.driver.execute_script(script)]

    def screenshot(self, name: str) -> Path:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(SCREENSHOTS / f"{name}.png")
        return SCREENSHOTS / f"{name}.png"

    def look(self, width: int, scheme: Literal["light", "dark"], height: int = 900) -> None:
        """Emulate a screen of `width` pixels, a color scheme and reduced motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """Return the console's warnings and errors since the last call."""
        return [
            str(entry["message"]) for entry in self._log("browser") if entry["level"] in {"SEVERE", "WARNING"}
        ]

    def origins(self) -> set[str]:
        """Return the origins that were requested since the last call."""
        requested = set()
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urlsplit(message["params"]["request"]["url"])
                if url.scheme in {"http", "https"}:  # neither browser pages nor data URLs
                    requested.add(f"{url.scheme}://{url.netloc}")
        return requested

    def _log(self, kind: Literal["browser", "performance"]) -> list[dict[str, Any]]:
        return list(self.driver.get_log(kind))  # type: ignore[no-untyped-call]  # selenium does not annotate it


@contextmanager
def browsing(profile: Path, *flags: str) -> Iterator[Browser]:
    """Run a browser with its profile in the empty folder `profile`, and with more flags."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(CHROMEDRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
