"""The page in a real browser: the bucket and Cognito are other origins, and their CORS and the page's policy are real."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import boto3
import pillow_heif
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import CHROMEDRIVER, CHROMIUM, Browser, browsing
from tests.e2e.driving import PYTHON, Driver, serving
from tests.environment import ROOT
from tests.localcloud import replicate, sample
from tests.localcloud.replicate_faults import Fault
from triptych.job import MOST_RETRIES

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="there is no chromium with its chromedriver here"
)
TOKEN = "r8_the_token_of_this_test"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.3, webhook_scale=0.2) as server:
        yield server


@pytest.fixture(scope="module")
def shared(stand_in: replicate.StandIn) -> Iterator[Driver]:
    options = ["--replicate-url", stand_in.url, "--parameter-overrides", "MaxUploadBytes=6000000"]
    options += ["WatchdogDelaySeconds=2", "DownloadUrlSeconds=6"]
    with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}) as driver:
        yield driver


@pytest.fixture
def cloud(shared: Driver, stand_in: replicate.StandIn) -> Driver:
    stand_in.set_faults()
    return shared


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, cloud: Driver) -> Iterator[Browser]:
    """A browser in which no test may leave a complaint on the console, nor call at another door."""
    window.look(1280, "light")
    window.open(cloud.told["api"] + "/")
    window.driver.execute_script("sessionStorage.clear()")
    window.complaints()
    window.origins()
    yield window
    assert window.complaints() == []
    assert window.origins() <= {cloud.told["api"], cloud.told["aws"]["endpoint"]}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(sample.photo())
    return path


def link(cloud: Driver, user: int = 0) -> str:
    return f"{cloud.told['api']}/#token={cloud.told['tokens'][user]}"


def make(browser: Browser, photo: Path) -> None:
    browser.choose(photo)
    browser.find("#preview")
    browser.click("#make")


def wait_for_pictures(browser: Browser, count: int) -> list[str]:
    browser.until(lambda: len(browser.pictures()) == count, f"{count} pictures")
    return browser.pictures()


def test_a_photo_becomes_three_pictures(browser: Browser, cloud: Driver, tmp_path: Path) -> None:
    browser.open(link(cloud))
    browser.find("#studio")
    assert browser.driver.current_url == cloud.told["api"] + "/"  # the token stays in no address bar
    large = tmp_path / "photo.jpg"
    Image.open(io.BytesIO(sample.photo())).resize((2400, 1800)).save(large, quality=100, subsampling=0)
    browser.choose(large)
    browser.find("#preview")
    browser.driver.execute_script("""
        window.percents = [];
        new MutationObserver(() => window.percents.push(parseInt(document.querySelector("#percent").textContent)))
          .observe(document.querySelector("#percent"), { childList: true });
    """)
    browser.driver.set_network_conditions(latency=5, download_throughput=-1, upload_throughput=1_500_000)
    browser.click("#make")
    browser.says("#status", "All three pictures are ready")
    browser.driver.delete_network_conditions()
    percents = [percent for percent in browser.driver.execute_script("return window.percents") if percent]
    assert any(0 < percent < 100 for percent in percents)
    assert percents == sorted(percents)
    addresses = wait_for_pictures(browser, 3)
    job_id = addresses[0].split("/outputs/")[1].split("/")[0]
    assert len(set(cloud.pictures(cloud.job(job_id)))) == 3
    assert len({address.partition("?")[0] for address in addresses}) == 3
    browser.driver.refresh()
    wait_for_pictures(browser, 3)  # a reload comes back to the same job


def test_a_failed_picture_is_said_and_tried_again(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="fail", times=1))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "Two of three pictures are ready; the rest could not be made.")
    browser.says("[data-status=FAILED] .caption", "The model would not draw this.")
    assert len(wait_for_pictures(browser, 2)) == 2
    browser.screenshot("partial")
    browser.click("#retry")
    browser.says("#status", "All three pictures are ready")
    assert len(wait_for_pictures(browser, 3)) == 3


def test_pictures_that_have_no_retry_left(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="fail"))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "The model would not draw this.")
    (job_id,) = parse_qs(urlsplit(browser.driver.current_url).fragment)["job"]
    for _ in range(MOST_RETRIES):
        assert cloud.request("POST", f"/api/v1/jobs/{job_id}/retry").status_code == 200
        assert cloud.end_of(job_id)["status"] == "FAILED"
    browser.click("#retry")
    browser.says("#status", "These pictures were tried as often as they may be. Send the photo again.")
    assert not browser.driver.find_element(By.ID, "retry").is_displayed()
    (refused,) = browser.complaints()
    assert "409" in refused


def test_cancelled_pictures(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="slow_run", seconds=60))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "Three pictures are being drawn.")
    browser.click("#cancel")
    browser.says("#status", "Cancelled.")
    assert browser.find("#delete").is_displayed()


def test_an_upload_that_is_cancelled_can_be_sent_again(browser: Browser, cloud: Driver, photo: Path) -> None:
    browser.open(link(cloud))
    browser.choose(photo)
    browser.find("#preview")
    browser.driver.set_network_conditions(latency=5, download_throughput=-1, upload_throughput=20_000)
    browser.click("#make")
    browser.until(
        lambda: browser.driver.execute_script("return document.querySelector('#bar').value > 0"), "bytes"
    )
    browser.click("#cancel")
    browser.says("#status", "Cancelled.")
    browser.driver.delete_network_conditions()
    browser.click("#make")
    browser.says("#status", "All three pictures are ready")


def test_what_will_not_do_is_said_before_it_is_sent(browser: Browser, cloud: Driver, tmp_path: Path) -> None:
    browser.open(link(cloud))
    too_large = tmp_path / "large.jpg"
    too_large.write_bytes(sample.photo() + bytes(6_000_000))
    browser.choose(too_large)
    browser.says("#problem", "This photo is too large. The most that is taken is 5.7 MB")
    text = tmp_path / "text.txt"
    text.write_text("no photo")
    browser.choose(text)
    browser.says("#problem", "This is no photo that can be read here.")
    lie = tmp_path / "lie.jpg"
    lie.write_text("no photo either")
    browser.choose(lie)
    browser.says("#problem", "This is no photo that can be read here.")
    assert not browser.find("#make").is_enabled()


def test_a_photo_that_is_of_another_type_than_its_name_says(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    gif = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48), "red").save(gif, "GIF")
    browser.open(link(cloud))
    make(browser, gif)
    browser.says("#status", "This is no photo that can be read here. Choose a JPEG, PNG, WebP or HEIC.")
    assert not browser.driver.find_element(By.ID, "retry").is_displayed()


def test_a_photo_that_the_browser_cannot_show_becomes_pictures_too(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    pillow_heif.register_heif_opener()
    photo = tmp_path / "IMG_1.HEIC"
    Image.open(io.BytesIO(cloud.photo)).save(photo, "HEIF")
    browser.open(link(cloud))
    browser.choose(photo)
    browser.says("#chosen", "IMG_1.HEIC")
    browser.click("#make")
    assert len(set(wait_for_pictures(browser, 3))) == 3


def test_earlier_pictures_are_listed_shown_and_deleted(browser: Browser, cloud: Driver) -> None:
    ids = [cloud.start(user=1) for _ in range(7)]
    for job_id in ids:
        cloud.end_of(job_id, user=1)
    browser.open(link(cloud, user=1))
    browser.count(".card", 6)
    browser.click("#more")
    browser.count(".card", 7)
    browser.click(".card .open")
    before = wait_for_pictures(browser, 3)
    assert ids[-1] in before[0]
    browser.click("#delete")
    browser.click("#sure-no")
    assert cloud.job(ids[-1], user=1)
    browser.click("#delete")
    browser.find("#sure")
    browser.driver.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)  # by keyboard alone
    browser.says("#status", "Deleted.")
    assert cloud.request("GET", f"/api/v1/jobs/{ids[-1]}", user=1).status_code == 404
    browser.count(".card", 6)
    assert browser.pictures() == []
    browser.click(".card .remove")
    browser.click("#sure-yes")
    browser.count(".card", 5)
    assert cloud.request("GET", f"/api/v1/jobs/{ids[-2]}", user=1).status_code == 404


def test_a_link_that_has_run_out_is_renewed(browser: Browser, cloud: Driver) -> None:
    job_id = cloud.start()
    old = [image["url"] for image in cloud.end_of(job_id)["images"]]
    browser.open(link(cloud))
    browser.click(".card .open")
    wait_for_pictures(browser, 3)
    browser.until(lambda: cloud.http.get(old[0]).status_code == 403, "the end of the link")
    browser.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    browser.driver.execute_script(
        "document.querySelectorAll('#frames img').forEach((img, index) => { img.src = arguments[0][index] })",
        old,
    )
    browser.until(lambda: len(set(browser.pictures()) - set(old)) == 3, "new links")
    assert any(
        "403" in complaint for complaint in browser.complaints()
    )  # the browser's own word on the old links


def test_a_picture_is_saved_by_its_link(browser: Browser, cloud: Driver, tmp_path: Path) -> None:
    job_id = cloud.start()
    pictures = cloud.pictures(cloud.end_of(job_id))
    browser.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    browser.open(link(cloud))
    browser.click(".card .open")
    wait_for_pictures(browser, 3)
    browser.click(".download")
    saved = tmp_path / f"triptych-{job_id[:8]}-1.png"
    browser.until(saved.exists, str(saved))
    assert saved.read_bytes() == pictures[0]


def test_signing_in_by_e_mail_with_a_first_password_to_be_replaced(browser: Browser, cloud: Driver) -> None:
    aws = cloud.told["aws"]
    cognito = boto3.client(
        "cognito-idp",
        endpoint_url=aws["endpoint"],
        region_name=aws["region"],
        aws_access_key_id=aws["access_key_id"],
        aws_secret_access_key=aws["secret_access_key"],
    )
    pool = cognito.list_user_pools(MaxResults=1)["UserPools"][0]["Id"]
    cognito.admin_create_user(
        UserPoolId=pool, Username="new@example.com", TemporaryPassword="First-password-1", MessageAction="SUPPRESS",
        UserAttributes=[{"Name": "email", "Value": "new@example.com"}],
    )  # fmt: skip
    browser.open(cloud.told["api"])
    browser.find("#email").send_keys("new@example.com")
    browser.find("#password").send_keys("First-password-1", Keys.ENTER)
    browser.find("#password-new").send_keys("Second-password-2", Keys.ENTER)
    browser.says("#who", "new@example.com")
    browser.click("#sign-out")
    browser.find("#email").send_keys("new@example.com")
    browser.find("#password").send_keys("Second-password-2", Keys.ENTER)
    browser.find("#studio")
    # A token that has run out is renewed without a word.
    old = browser.driver.execute_script("""
        const { id, refresh } = JSON.parse(sessionStorage.getItem("triptych"));
        const claims = { ...JSON.parse(atob(id.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))), exp: 1 };
        const old = `e30.${btoa(JSON.stringify(claims))}.`;
        sessionStorage.setItem("triptych", JSON.stringify({ id: old, refresh }));
        return old;
    """)
    browser.driver.refresh()
    browser.until(
        lambda: old not in browser.driver.execute_script("return sessionStorage.triptych"), "a token"
    )
    browser.says("#who", "new@example.com")


def test_a_wrong_password_and_a_wrong_token_are_said(browser: Browser, cloud: Driver) -> None:
    browser.open(cloud.told["api"])
    browser.find("#email").send_keys("ada@example.com")
    browser.find("#password").send_keys("wrong", Keys.ENTER)
    browser.says("#door-problem", "The e-mail or the password is wrong.")
    browser.open(f"{cloud.told['api']}/#token=nonsense")
    browser.says("#door-problem", "Your sign-in has ended. Sign in again.")
    answers = browser.complaints()  # the browser's own word on the two refusals
    assert answers
    assert all("status of 40" in answer for answer in answers)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, cloud: Driver, width: int, scheme: Literal["light", "dark"]
) -> None:
    job_id = cloud.start(user=1)
    cloud.end_of(job_id, user=1)
    browser.look(width, scheme, height=2400 if width == 390 else 1200)
    browser.open(cloud.told["api"])
    browser.find("#sign-in")
    browser.screenshot(f"door-{width}-{scheme}")
    browser.open(link(cloud, user=1) + f"&job={job_id}")
    wait_for_pictures(browser, 3)
    browser.find(".strip .there")
    browser.screenshot(f"page-{width}-{scheme}")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") == width


def test_the_printed_link_signs_in(browser: Browser) -> None:
    serve = subprocess.Popen(
        [PYTHON, "-m", "tests.localcloud", "serve"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        assert serve.stdout
        printed = next(line for line in serve.stdout if line.startswith("The page is at "))
        browser.open(printed.split()[-1])
        browser.says("#who", "ada@example.com")
        browser.open("about:blank")  # before its cloud ends
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.communicate(timeout=20)
    browser.origins()  # another cloud's
