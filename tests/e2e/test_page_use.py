"""The page as people use it: by keyboard, on a phone, on a slow network, with several jobs and in two tabs."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.axe import axe
from tests.localcloud import replicate, sample
from tests.localcloud.driving import Driver, serving
from tests.localcloud.replicate_faults import Fault
from tests.support import npm
from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
TOKEN = "r8_the_token_of_this_test"
READY = "All three pictures are ready"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SLOW = 20_000  # bytes per second

# Gives a file to the page as a drop or a paste does. Arguments: the kind, a selector, the names of the files.
GIVE = """
    const [kind, where, names, base64] = arguments;
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    for (const name of names) data.items.add(new File([bytes], name, { type: "image/jpeg" }));
    const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
    const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
    document.querySelector(where).dispatchEvent(event);
"""
# Lets the requests to URLs with WHAT fail until the window is `connected`.
CUT_OFF = """
    const real = fetch;
    window.failed = 0;
    window.fetch = async (url, options) => {
      if (window.connected || !String(url).includes("WHAT")) return real(url, options);
      window.failed += 1;
      throw new TypeError("Failed to fetch");
    };
"""
# The contrast of two colours, by WCAG. Arguments: a selector, the property of its colour, a selector of what is behind.
CONTRAST = """
    const [css, property, behind] = arguments;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    const light = (colour) => {
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...brush.getImageData(0, 0, 1, 1).data].map((part) =>
        part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    light(getComputedStyle(document.querySelector(behind)).backgroundColor);
    const under = light(getComputedStyle(document.querySelector(behind)).backgroundColor);
    const over = light(getComputedStyle(document.querySelector(css))[property]);
    return (Math.max(under, over) + 0.05) / (Math.min(under, over) + 0.05);
"""


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.2, webhook_scale=0.2, allow_http_webhooks=True) as server:
        yield server


@pytest.fixture(scope="module")
def shared(stand_in: replicate.StandIn) -> Iterator[Driver]:
    # Its tests cancel and delete running jobs.
    with serving(
        "--replicate-url", stand_in.url, environment={"REPLICATE_API_TOKEN": TOKEN}, wastes=True
    ) as driver:
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
    """A browser that allows no console message."""
    window.look(1280, "light")
    window.driver.get("about:blank")
    kept = {"origin": cloud.api, "storageTypes": "local_storage,indexeddb"}
    window.driver.execute_cdp_cmd("Storage.clearDataForOrigin", kept)
    window.complaints()
    yield window
    window.driver.delete_network_conditions()
    assert window.complaints() == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(sample.photo())
    return path


@pytest.fixture(scope="session")
def encoded() -> str:
    """A small JPEG in base64."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def finished(shared: Driver) -> str:
    """The id of a finished job of the second user. No test changes it."""
    job_id = shared.start(user=1)
    shared.end_of(job_id, user=1)
    return job_id


@pytest.fixture
def shown(browser: Browser, cloud: Driver, finished: str) -> Browser:
    """The page with one finished job of the second user."""
    browser.open(f"{link(cloud, user=1)}&job={finished}")
    browser.until(lambda: len(browser.pictures()) == 3, "three pictures")
    return browser


@pytest.fixture
def heavy(tmp_path: Path) -> Path:
    """A photo that does not fit into the buffers of a connection."""
    path = tmp_path / "heavy.jpg"
    Image.effect_noise((1200, 900), 100).save(path, quality=90)
    assert path.stat().st_size > 500_000
    return path


def link(cloud: Driver, user: int = 0) -> str:
    return f"{cloud.api}/#token={cloud.tokens[user]}"


def script(browser: Browser, code: str, *arguments: object) -> Any:
    return browser.driver.execute_script(code, *arguments)


def focused(browser: Browser) -> str:
    return str(script(browser, "return document.activeElement.id || document.activeElement.className"))


def job_in(browser: Browser) -> str:
    """Return the id of the job in the address."""
    return parse_qs(urlsplit(browser.driver.current_url).fragment)["job"][0]


def make(browser: Browser, photo: Path) -> None:
    browser.choose(photo)
    browser.find("#preview")
    browser.click("#make")


def make_slowly(browser: Browser, photo: Path) -> str:
    """Begin an upload that lasts some seconds; return the job's id."""
    browser.choose(photo)
    browser.find("#preview")
    browser.driver.set_network_conditions(latency=5, download_throughput=-1, upload_throughput=SLOW)
    browser.click("#make")
    browser.until(lambda: script(browser, "return document.querySelector('#bar').value > 0"), "bytes")
    return job_in(browser)


def copies(cloud: Driver, count: int, *, user: int) -> list[str]:
    """Make jobs of one image with the same photo; return their ids, newest first."""
    first = cloud.start(user=user, image_count=1)
    cloud.end_of(first, user=user)
    ids = [first]
    for number in range(count - 1):
        order = {"photo_of": first, "image_count": 1, "prompt": f"number {number}"}
        answer = cloud.request("POST", "/api/v1/jobs", user=user, json=order)
        assert answer.status_code == 201, answer.text
        ids.insert(0, answer.json()["job_id"])
    for job_id in ids:
        cloud.end_of(job_id, user=user)
    return ids


def show_more(browser: Browser) -> None:
    before = len(browser.all(".card"))
    browser.click("#more")
    browser.until(lambda: len(browser.all(".card")) > before, "more cards")


# ── what was wrong ──


def test_download_is_reached_with_the_keyboard(shown: Browser) -> None:
    script(shown, "document.querySelector('.download').focus()")
    assert "download" in focused(shown)


def test_focus_stays_after_escape(shown: Browser) -> None:
    opener = "#frames .look" if shown.all("#frames .look") else "#delete"
    script(shown, "document.querySelector(arguments[0]).focus()", opener)
    shown.driver.switch_to.active_element.send_keys(Keys.ENTER)
    shown.find("dialog[open]")
    shown.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    shown.until(lambda: not shown.all("dialog[open]"), "the end of the dialog")
    assert script(shown, "return document.activeElement.matches(arguments[0])", opener)


def test_list_stays_after_a_card_is_opened_or_deleted(browser: Browser, cloud: Driver) -> None:
    for job in cloud.request("GET", "/api/v1/jobs?limit=100").json()["jobs"]:
        cloud.request("DELETE", f"/api/v1/jobs/{job['job_id']}")
    copies(cloud, 14, user=0)
    browser.open(link(cloud))
    browser.find(".card")
    while len(browser.all(".card")) < 14:
        show_more(browser)
    browser.count(".card", 14)
    browser.click(".card .open")
    browser.until(browser.pictures, "a picture")
    browser.count(".card", 14)
    browser.click(".card .remove")
    if browser.all("#sure-yes"):
        browser.click("#sure-yes")
    browser.count(".card", 13)


def test_reload_continues_an_upload(browser: Browser, cloud: Driver, heavy: Path) -> None:
    browser.open(link(cloud))
    make_slowly(browser, heavy)
    browser.driver.refresh()
    browser.says("#status", "The photo is on its way.")
    browser.driver.delete_network_conditions()
    browser.says("#status", READY)


def test_running_jobs_stay_and_end_in_the_list(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    earlier = cloud.start()
    cloud.end_of(earlier)
    stand_in.set_faults(Fault(kind="slow_run", seconds=4))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "pictures are being drawn")
    browser.says(".card .state", "Being drawn")
    # While another job is shown, the card of the running one lives on.
    script(browser, "[...document.querySelectorAll('.card .open')][1].click()")
    browser.says("#status", READY)
    browser.says(".card .state", "Being drawn")
    browser.until(lambda: browser.driver.find_element(By.CSS_SELECTOR, ".card .state").text == "", "an end")
    script(browser, "document.querySelector('#earlier').scrollIntoView()")
    browser.count(".day:first-child .card:first-child .strip .there", 3)


def test_back_stays_on_the_page(shown: Browser) -> None:
    script(shown, "location.hash = ''")
    shown.click(".card .open")
    shown.until(lambda: "job=" in shown.driver.current_url, "a job in the address")
    opened = job_in(shown)
    shown.driver.back()
    shown.says("#status", "Three frames, still empty.")
    assert shown.all("#studio")
    shown.driver.forward()
    shown.says("#status", "ready")
    assert job_in(shown) == opened


def test_picture_that_a_link_opened_closes_to_its_job(shown: Browser, cloud: Driver) -> None:
    job_id = job_in(shown)
    shown.look(390, "light")
    shown.open(f"{cloud.api}/#job={job_id}&picture=1")
    shown.click("#next")
    shown.says("#viewer-title", "Picture 2 of 3")
    shown.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    shown.until(lambda: not shown.all("#viewer"), "the end of the viewer")
    assert job_in(shown) == job_id


def test_cards_are_alike_whatever_their_number_of_pictures(browser: Browser, cloud: Driver) -> None:
    for count in (1, 3, 10):
        cloud.end_of(cloud.start(image_count=count))
    browser.open(link(cloud))
    browser.until(lambda: len(browser.all(".card")) >= 3, "three cards")
    heights = "return [...document.querySelectorAll('.strip')].map((one) => Math.round(one.offsetHeight))"
    assert len(set(script(browser, heights))) == 1


def test_upload_shows_its_bar_at_its_own_job_only(browser: Browser, cloud: Driver, heavy: Path) -> None:
    cloud.end_of(cloud.start())
    browser.open(link(cloud))
    browser.find(".card")
    uploading = make_slowly(browser, heavy)
    assert browser.all("#bar")
    script(browser, "[...document.querySelectorAll('.card .open')].at(-1).click()")
    browser.until(lambda: job_in(browser) != uploading, "another job")
    browser.says("#status", "ready")
    assert not browser.all("#bar")
    browser.driver.back()
    browser.find("#bar")
    browser.driver.delete_network_conditions()
    browser.says("#status", READY)


@pytest.mark.parametrize("lost", ["/api/v1/", "/en.json"])
def test_connection_lost_at_load_is_made_up_for(browser: Browser, cloud: Driver, lost: str) -> None:
    cloud.end_of(cloud.start())
    source = {"source": CUT_OFF.replace("WHAT", lost)}
    cut = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        browser.open(link(cloud))
        browser.until(lambda: script(browser, "return window.failed > 0"), "a request that fails")
        script(browser, "window.connected = true; dispatchEvent(new Event('online'))")
        browser.find(".card")
        browser.count(".style", 7)
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", cut)


def test_photo_with_a_wrong_file_name_becomes_pictures(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    png = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48), "red").save(png, "PNG")
    browser.open(link(cloud))
    make(browser, png)
    browser.says("#status", READY)
    assert cloud.job(job_in(browser))["photo"]["content_type"] == "image/png"


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_photo_is_taken_wherever_it_is_dropped_or_pasted(
    browser: Browser, cloud: Driver, kind: str, encoded: str
) -> None:
    browser.open(link(cloud))
    browser.find("#studio")
    script(browser, GIVE, kind, "h2", ["one.jpg"], encoded)
    browser.find("#preview")
    script(browser, GIVE, kind, "#work", ["two.jpg", "three.jpg"], encoded)
    browser.says("#problem", "One photo at a time: this is two.jpg.")


def test_three_frames_stand_in_one_row_at_768_pixels(shown: Browser) -> None:
    shown.look(768, "light")
    tops = script(shown, "return [...document.querySelectorAll('.piece')].map((one) => one.offsetTop)")
    assert len(set(tops)) == 1


def test_new_tab_shares_the_session_of_the_others(browser: Browser, cloud: Driver) -> None:
    browser.open(link(cloud))
    browser.says("#who", "ada@example.com")
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        browser.driver.get(cloud.api)
        browser.says("#who", "ada@example.com")
        browser.click("#sign-out")
        browser.find("#sign-in")
        browser.driver.switch_to.window(first)
        browser.find("#sign-in")
    finally:
        for handle in browser.driver.window_handles:
            if handle != first:
                browser.driver.switch_to.window(handle)
                browser.driver.close()
        browser.driver.switch_to.window(first)


@pytest.mark.parametrize("kept", ["{", "null", '{"id": "x"}', "[]"])
def test_unreadable_session_leads_to_the_door(browser: Browser, cloud: Driver, kept: str) -> None:
    browser.open(cloud.api)
    browser.find("#sign-in")
    script(browser, "localStorage.setItem('triptych', arguments[0])", kept)
    browser.driver.refresh()
    browser.find("#sign-in")


def test_blocked_storage_leaves_a_session_to_its_tab(browser: Browser, cloud: Driver) -> None:
    block = "for (const name of ['getItem', 'setItem', 'removeItem']) Storage.prototype[name] = () => { throw new Error(name); };"
    once = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": block})
    try:
        browser.open(link(cloud))
        browser.says("#who", "ada@example.com")
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", once)
        browser.open(cloud.api)


def test_long_paste_is_kept_and_counted(browser: Browser, cloud: Driver, photo: Path) -> None:
    browser.open(link(cloud))
    browser.find("#prompt").click()
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "a" * 2100})
    assert len(browser.find("#prompt").get_attribute("value") or "") == 2100
    browser.says("#counter", "100 characters too many")
    browser.choose(photo)
    browser.find("#preview")
    browser.click("#make")
    browser.says("#problem", "The description is too long. Shorten it to 2,000 characters.")
    assert focused(browser) == "prompt"


def test_borders_and_numerals_have_enough_contrast(browser: Browser, cloud: Driver) -> None:
    browser.open(link(cloud))
    browser.find(".style")
    for scheme in SCHEMES:
        browser.look(1280, scheme)
        for css in ("#prompt", ".style:last-child", "#drop"):
            assert script(browser, CONTRAST, css, "borderTopColor", "body") >= 3, (css, scheme)
        assert script(browser, CONTRAST, ".numeral", "color", ".numeral") >= 4.5, scheme


def test_frames_are_seen_in_forced_colours(shown: Browser) -> None:
    shown.find(".card")
    features = [{"name": "forced-colors", "value": "active"}]
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for css in ("#frames .mat", ".strip"):
        border = """
            for (let one = document.querySelector(arguments[0]); !one.matches("figure, li"); one = one.parentElement) {
              const { borderTopWidth, borderTopColor, backgroundColor } = getComputedStyle(one);
              if (borderTopWidth !== "0px" && borderTopColor !== getComputedStyle(document.body).backgroundColor) return true;
            }
            return false;
        """
        assert script(shown, border, css), css


def test_camera_is_a_button_with_its_own_name(browser: Browser, cloud: Driver) -> None:
    browser.look(390, "light")
    browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.open(link(cloud))
        browser.find(".camera")
        script(browser, "document.querySelector('.camera').focus()")
        assert focused(browser) != ""
        assert script(browser, "return document.activeElement.textContent") == "Take a photo"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


# ── what it can do ──


def test_pictures_are_downloaded_as_one_zip_file(shown: Browser, cloud: Driver, tmp_path: Path) -> None:
    folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
    shown.driver.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    job_id = job_in(shown)
    shown.click("#save-all")
    saved = tmp_path / f"triptych-{job_id[:8]}.zip"
    shown.until(saved.exists, str(saved))
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        contents = [archive.read(name) for name in archive.namelist()]
    assert contents == cloud.pictures(cloud.job(job_id, user=1))


def test_sample_becomes_pictures_with_one_click(browser: Browser, cloud: Driver) -> None:
    browser.open(link(cloud))
    browser.count(".style", 7)
    assert "sample.jpg" not in str(
        script(browser, "return performance.getEntriesByType('resource').map((one) => one.name)")
    )
    browser.click("#sample")
    browser.says("#status", READY)
    assert cloud.job(job_in(browser))["style"] == "oil"


def test_large_photo_becomes_smaller_and_upright_before_the_upload(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    original = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    Image.open(io.BytesIO(sample.photo())).resize((3000, 2000)).save(original, quality=97, exif=exif)
    browser.open(link(cloud))
    make(browser, original)
    browser.says("#status", READY)
    photo = cloud.job(job_in(browser))["photo"]
    sent = Image.open(io.BytesIO(cloud.http.get(photo["url"]).content))
    assert sent.size == (1365, 2048)
    assert not sent.getexif()
    assert photo["size"] < original.stat().st_size / 2


def test_broken_upload_is_repeated(browser: Browser, cloud: Driver, photo: Path) -> None:
    browser.open(link(cloud))
    browser.find("#studio")
    script(
        browser,
        """
        const { send } = XMLHttpRequest.prototype;
        XMLHttpRequest.prototype.send = function () {
          XMLHttpRequest.prototype.send = send;
          this.dispatchEvent(new Event("error"));
        };
        """,
    )
    make(browser, photo)
    browser.says("#status", "The connection broke. The photo is sent again by itself.")
    browser.says("#status", READY)


def test_photo_outlasts_a_long_break(browser: Browser, cloud: Driver, photo: Path) -> None:
    browser.open(link(cloud))
    browser.find("#studio")
    script(browser, CUT_OFF.replace("WHAT", "/jobs/"))
    script(
        browser,
        """
        const wait = setTimeout;
        window.setTimeout = (act, milliseconds) => wait(act, milliseconds / 1000);
        XMLHttpRequest.prototype.send = function () { this.dispatchEvent(new Event("error")); };
        """,
    )
    make(browser, photo)
    browser.says("#status", "The photo could not be sent. Try again.")  # the page has ended its tries
    browser.driver.refresh()
    browser.says("#status", READY)


def test_end_is_told_in_the_title_and_by_a_notification(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="slow_run", seconds=2))
    allowed = {"permissions": ["notifications"], "origin": cloud.api}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
    try:
        browser.open(link(cloud))
        script(
            browser,
            """
            const real = fetch;
            window.fetch = async (url, options) => {
              const answer = await real(url, options);
              if (!/\\/jobs\\/[0-9a-f-]+$/.test(url)) return answer;
              const job = { ...(await answer.json()), progress: { typical_seconds: 12, slow_seconds: 30 } };
              return Response.json(job, answer);
            };
            window.told = [];
            window.Notification = class extends EventTarget {
              static permission = "granted";
              constructor(title) { super(); window.told.push(title); }
            };
            """,
        )
        make(browser, photo)
        browser.says("#elapsed", " of about 12 s")
        browser.until(lambda: browser.driver.title == "0 of 3 \N{EN DASH} Triptych", "a running title")
        script(browser, "Object.defineProperty(document, 'hidden', { value: true })")
        browser.until(lambda: browser.driver.title == "✓ Ready \N{EN DASH} Triptych", "a title that says it")
        assert script(browser, "return window.told") == ["Your three pictures are ready."]
    finally:
        browser.driver.execute_cdp_cmd("Browser.resetPermissions", {})


def test_title_says_that_a_hidden_job_failed(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="fail"))
    browser.open(link(cloud))
    browser.find("#studio")
    script(browser, "Object.defineProperty(document, 'hidden', { value: true })")
    make(browser, photo)
    browser.until(lambda: browser.driver.title.startswith("Could not be made"), "a title that says it")


def test_earlier_order_is_used_again_without_an_upload(browser: Browser, cloud: Driver) -> None:
    job_id = cloud.start(user=1, style="neon", prompt="With a red boat")
    cloud.end_of(job_id, user=1)
    browser.open(f"{link(cloud, user=1)}&job={job_id}")
    browser.says("#about-prompt", "With a red boat")
    browser.says("#about-style", "Neon night")
    browser.click("#use-again")
    browser.until(lambda: browser.find("#prompt").get_attribute("value") == "With a red boat", "the prompt")
    browser.click("#make")
    browser.until(lambda: job_in(browser) != job_id, "another job")
    browser.says("#status", READY)
    again = cloud.job(job_in(browser), user=1)
    assert (again["style"], again["prompt"]) == ("neon", "With a red boat")


def test_list_is_filtered_by_words_and_state(browser: Browser, cloud: Driver) -> None:
    copies(cloud, 5, user=1)
    browser.open(link(cloud, user=1))
    browser.find("#search").send_keys("number 2")
    browser.until(
        lambda: {one.text for one in browser.all(".card .asked")} == {"number 2"}, "the only job that matches"
    )
    browser.find("#search").clear()
    browser.driver.find_element(By.CSS_SELECTOR, "#filter [value=FAILED]").click()
    browser.says("#none-found", "Nothing found.")
    browser.find("#none-found")
    browser.driver.find_element(By.CSS_SELECTOR, "#filter [value='']").click()
    browser.until(lambda: len(browser.all(".card")) >= 5, "all jobs")
    browser.says("#jobs h3", "Today")
    assert (browser.find(".card .when").get_attribute("title") or "").endswith("(UTC+09:00)")  # the stack's


def test_viewer_zooms_compares_and_turns_with_keys(shown: Browser) -> None:
    shown.click("#frames .look")
    shown.find("#viewer")
    keys = shown.driver.switch_to.active_element.send_keys
    shown.until(
        lambda: "/outputs/" in (shown.find("#viewer-picture").get_attribute("src") or ""), "all of it"
    )
    keys("+")
    assert "scale(1.5)" in script(shown, "return document.querySelector('#layers').style.transform")
    keys(Keys.ARROW_RIGHT)  # moves what is zoomed in
    assert "translate(-80px" in script(shown, "return document.querySelector('#layers').style.transform")
    keys("0", "c")
    shown.find("#cut").send_keys(Keys.ARROW_RIGHT)
    assert script(shown, "return stage.style.getPropertyValue('--cut')") == "51%"
    shown.find("#viewer-close")
    script(shown, "document.querySelector('#viewer-close').focus()")
    shown.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    shown.says("#viewer-title", "Picture 2 of 3")
    shown.driver.back()  # closes the picture, and stays at its job
    shown.until(lambda: not shown.all("#viewer"), "the end of the viewer")
    shown.says("#status", READY)


def test_page_speaks_korean_by_the_switch_and_stays_so(shown: Browser) -> None:
    shown.click("#language")
    shown.says("#status", "그림 세 장이 모두 완성됐어요.")
    shown.says(".card .remove", "삭제")
    assert script(shown, "return document.documentElement.lang") == "ko"
    # What is left in English: names, types of files, the stack's own prompt, and what the user wrote.
    script(shown, "document.querySelectorAll('.asked').forEach((one) => one.remove())")
    text = str(script(shown, "return document.body.innerText"))
    left = set(re.findall(r"[A-Za-z]{3,}", text)) - {"Triptych", "English", "JPEG", "PNG", "WebP", "HEIC"}
    assert left - {"grace", "example", "com", "III"} == set()
    shown.driver.refresh()
    shown.says("#status", "그림 세 장이 모두 완성됐어요.")


def test_forgotten_password_is_replaced(browser: Browser, cloud: Driver) -> None:
    browser.open(cloud.api)
    browser.find("#email").send_keys("ada@example.com")
    browser.click("#forget")
    assert browser.find("#forgot-email").get_attribute("value") == "ada@example.com"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.says("#reset-why", "If ada@example.com has an account, a code is on its way there.")
    browser.find("#reset-code").send_keys("123456")  # moto takes every code
    browser.find("#reset-password").send_keys("too-short", Keys.ENTER)
    browser.says("#door-problem", "Your new password still needs at least 12 characters")
    browser.find("#reset-password").clear()
    browser.find("#reset-password").send_keys("Another-password-3", Keys.ENTER)
    browser.says("#who", "ada@example.com")


@pytest.fixture(scope="module")
def rules() -> str:
    """axe-core as a script."""
    if npm.MISSING and not npm.REQUIRED:
        pytest.skip("There is no Node.js with npm here.")
    try:
        return axe.source()
    except npm.UnreachableError as why:
        if npm.REQUIRED:
            raise
        pytest.skip(f"npm reaches no registry: {why}")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_axe_finds_nothing_wrong(shown: Browser, rules: str, language: str) -> None:
    script(shown, "localStorage.setItem('triptych-language', arguments[0])", language)
    shown.driver.refresh()
    shown.find(".card .there")
    found = {}
    looks = [(width, scheme) for width in (390, 768, 1280) for scheme in SCHEMES]
    for width, scheme in looks if language == "en" else looks[::5]:
        shown.look(width, scheme)
        found[f"page, {width}, {scheme}"] = axe.violations(shown, rules)
    script(shown, "location.hash = ''")
    shown.until(lambda: not shown.pictures(), "empty frames")
    found["empty frames"] = axe.violations(shown, rules)
    script(shown, "history.back()")
    shown.until(shown.pictures, "pictures")
    shown.click("#frames .look")
    shown.find("#viewer")
    found["viewer"] = axe.violations(shown, rules)
    script(shown, "history.back()")
    shown.until(lambda: not shown.all("#viewer"), "the end of the viewer")
    shown.click("#sign-out")
    shown.find("#sign-in")
    found["door"] = axe.violations(shown, rules)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
