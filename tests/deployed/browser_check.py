"""The page in a real browser: sign in, and see the images of a job."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from tests.deployed.verdict import NotJudgedError, ProblemError
from tests.support.browser import CHROMEDRIVER, CHROMIUM, browsing

if TYPE_CHECKING:
    from tests.deployed.user import User


def page_shows_the_images(url: str, user: User, count: int) -> str:
    """Sign in at `url`, which names the job. Its images load from the bucket under the page's policy.

    Raises:
        NotJudgedError: There is no browser.
        ProblemError: The page does not show the images, or the browser complains.
    """
    if not (CHROMIUM and CHROMEDRIVER):
        raise NotJudgedError("There is no chromium with its chromedriver here.")
    with TemporaryDirectory(prefix="judge-") as profile, browsing(Path(profile)) as browser:
        try:
            browser.open(url)
            if user.email:
                browser.find("#email").send_keys(user.email)
                browser.driver.find_element(By.ID, "password").send_keys(user.password)
                browser.click("#sign-in button")
            else:
                browser.find("#token").send_keys(user.token)
                browser.click("#paste-token button")
            browser.until(lambda: len(browser.pictures()) == count, f"{count} images")
            complaints = browser.complaints()
        except WebDriverException as error:
            said = "; ".join(browser.complaints()) or "nothing"
            raise ProblemError(
                f"The page did not get as far as {count} images: {error.msg}. Its console says: {said}"
            ) from error
    if complaints:
        raise ProblemError(f"The browser complains: {'; '.join(complaints)}")
    return f"signed in, {count} images shown, no complaint in the console"
