"""The page in a real browser. The bucket and Cognito are other origins, so CORS and the page's policy apply."""

from __future__ import annotations

import base64
import contextlib
import hmac
import io
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import boto3
import pillow_heif
import pytest
from botocore.config import Config
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.environment import ROOT
from tests.localcloud import replicate, sample
from tests.localcloud.driving import PYTHON, Driver, serving
from tests.localcloud.http_server import HttpServer, Response
from tests.localcloud.replicate_faults import Fault
from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing
from tests.support.page_function import answer_of, page_with
from triptych.job import MOST_RETRIES

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
TOKEN = "r8_the_token_of_this_test"
PASSWORD = "First-password-1"
USER = {"USER_ID_FOR_SRP": "the-user"}  # the user's name in Cognito's challenges
NEW_PASSWORD = {"ChallengeName": "NEW_PASSWORD_REQUIRED", "Session": "s", "ChallengeParameters": USER}
CODE = {"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "s", "ChallengeParameters": USER}

# Replaces Cognito in the page: records each request and returns the next answer. An answer with `__type` is an error.
COGNITO = """
    const [answers, real] = [arguments[0], fetch];
    window.sent = [];
    window.fetch = async (url, options) => {
      const action = options?.headers?.["x-amz-target"]?.split(".")[1];
      if (!action) return real(url, options);
      window.sent.push([action, JSON.parse(options.body)]);
      const answer = answers.shift();
      return Response.json(answer, { status: answer.__type ? 400 : 200 });
    };
"""
# Replaces the browser's token with an expired one; returns the expired one.
EXPIRE = """
    const { id, ...rest } = JSON.parse(localStorage.getItem("triptych"));
    const claims = { ...JSON.parse(atob(id.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))), exp: 1 };
    const old = `e30.${btoa(JSON.stringify(claims))}.`;
    localStorage.setItem("triptych", JSON.stringify({ id: old, ...rest }));
    return old;
"""
# Delays the answer to a token refresh until release(), whose promise resolves once the page has the answer.
DELAY_REFRESH = """
    const real = fetch;
    let resume;
    const released = new Promise((resolve) => (resume = resolve));
    window.delayed = 0;
    window.fetch = async (url, options) => {
      const answer = await real(url, options);
      if (options?.headers?.["x-amz-target"]?.endsWith(".InitiateAuth")) {
        window.delayed += 1;
        await released;
      }
      return answer;
    };
    window.release = () => (resume(), new Promise((resolve) => setTimeout(resolve)));
"""


def answer_cognito_with(browser: Browser, *answers: object) -> None:
    """Reload the page with these answers instead of Cognito's. Moto cannot give them."""
    browser.driver.refresh()
    browser.find("#sign-in")
    browser.driver.execute_script(COGNITO, answers)


def sent_to_cognito(browser: Browser) -> list[tuple[str, dict[str, Any]]]:
    """Return the actions, each with its body."""
    return [(action, body) for action, body in browser.driver.execute_script("return window.sent")]


@contextmanager
def deployed_page(cloud: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve only the page, with its settings on AWS; yield its URL."""
    endpoint = cloud.printed["aws"]["endpoint"]
    module = page_with(monkeypatch, BUCKET_URL=endpoint, COGNITO_URL=endpoint)
    with HttpServer().start(lambda request: Response(*answer_of(module, request.target))) as server:
        yield f"{server.url}/"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.3, webhook_scale=0.2, allow_http_webhooks=True) as server:
        yield server


@pytest.fixture(scope="module")
def shared(stand_in: replicate.StandIn) -> Iterator[Driver]:
    options = ["--replicate-url", stand_in.url, "--parameter-overrides", "MaxUploadBytes=6000000"]
    options += ["WatchdogDelaySeconds=2", "DownloadUrlSeconds=6"]
    # Its tests cancel and delete running jobs.
    with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}, wastes=True) as driver:
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
    """A browser that allows no console message and no request to another origin."""
    window.look(1280, "light")
    window.open(cloud.printed["api"] + "/")
    window.driver.execute_script("localStorage.clear()")
    window.complaints()
    window.origins()
    yield window
    assert window.complaints() == []
    assert window.origins() <= {cloud.printed["api"], cloud.printed["aws"]["endpoint"]}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(sample.photo())
    return path


def link(cloud: Driver, user: int = 0) -> str:
    return f"{cloud.printed['api']}/#token={cloud.printed['tokens'][user]}"


def make(browser: Browser, photo: Path) -> None:
    browser.choose(photo)
    browser.find("#preview")
    browser.click("#make")


def wait_for_pictures(browser: Browser, count: int) -> list[str]:
    browser.until(lambda: len(browser.pictures()) == count, f"{count} pictures")
    return browser.pictures()


def job_in(browser: Browser) -> str:
    """Return the id of the job in the address."""
    return parse_qs(urlsplit(browser.driver.current_url).fragment)["job"][0]


def delete_at_once(browser: Browser) -> None:
    """End the time for undoing a deletion, as leaving the page does."""
    browser.driver.execute_script("dispatchEvent(new Event('pagehide'))")


def test_browser_isolates_the_page_as_its_headers_ask(browser: Browser) -> None:
    headers = browser.driver.execute_async_script("""
        const done = arguments[0];
        fetch("/").then((answer) => done(Object.fromEntries(answer.headers)));
    """)
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["x-frame-options"] == "DENY"
    assert headers["permissions-policy"].startswith("accelerometer=()")
    # The browser has understood them: only a page with both policies is isolated.
    assert browser.driver.execute_script("return crossOriginIsolated")
    allowed = browser.driver.execute_script("return document.featurePolicy.allowedFeatures()")
    assert not {"camera", "geolocation", "microphone", "payment"} & set(allowed)


def test_photo_becomes_three_images(browser: Browser, cloud: Driver, tmp_path: Path) -> None:
    browser.open(link(cloud))
    browser.find("#studio")
    assert browser.driver.current_url == cloud.printed["api"] + "/"  # the address bar does not keep the token
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
    job_id = job_in(browser)
    assert len(set(cloud.pictures(cloud.job(job_id)))) == 3
    assert len({address.partition("?")[0] for address in addresses}) == 3
    browser.driver.refresh()
    wait_for_pictures(browser, 3)  # a reload shows the same job


def test_failed_picture_is_shown_and_retried(
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


def test_pictures_without_a_retry_left_offer_none(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="fail"))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "The model would not draw this.")
    job_id = job_in(browser)
    for _ in range(MOST_RETRIES):
        assert cloud.request("POST", f"/api/v1/jobs/{job_id}/retry").status_code == 200
        assert cloud.end_of(job_id)["status"] == "FAILED"
    browser.click("#retry")
    browser.says("#status", "These pictures have no retry left. Send the photo again.")
    assert not browser.driver.find_element(By.ID, "retry").is_displayed()
    (refused,) = browser.complaints()
    assert "409" in refused


@pytest.fixture
def spent(cloud: Driver) -> Iterator[Callable[..., None]]:
    """Return a function that sets what the second user has spent, until the end of the test."""
    claims = cloud.printed["tokens"][1].split(".")[1]
    sub = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    key = {"job_id": {"S": f"spent by owner {sub}"}}
    table: dict[str, Any] = {"TableName": cloud.printed["table"]}
    dynamodb = cloud.aws("dynamodb")
    before = dynamodb.get_item(**table, Key=key).get("Item", key)

    def spend(pictures: int, active: int = 0) -> None:
        now = datetime.now(ZoneInfo("Asia/Seoul"))
        # Near midnight, the page may see the next day.
        days = {(now + timedelta(days=one)).date().isoformat(): {"N": str(pictures)} for one in (0, 1)}
        jobs = [f"{int(now.timestamp() * 1000) + one:x}-{one:08}" for one in range(active)]
        dynamodb.put_item(**table, Item={**key, **days, **({"active": {"SS": jobs}} if jobs else {})})

    yield spend
    dynamodb.put_item(**table, Item=before)


def test_pictures_left_today_are_shown(
    browser: Browser, cloud: Driver, photo: Path, spent: Callable[..., None]
) -> None:
    spent(597)
    browser.open(link(cloud, user=1))
    browser.says("#usage", "You can make 3 more pictures today. The day ends at ")
    make(browser, photo)
    browser.says("#usage", "You have reached the limit of pictures for one day. You can make more from ")
    browser.says("#status", "All three pictures are ready")
    assert not browser.find("#make").is_enabled()
    spent(0)
    browser.click("#delete")
    delete_at_once(browser)
    browser.says("#usage", "You can make 600 more pictures today.")
    assert browser.find("#make").is_enabled()


@pytest.mark.parametrize(
    ("pictures", "active", "said"),
    [
        (600, 0, "You have reached the limit of pictures for one day. You can make more from "),
        (598, 0, "Only 2 more pictures can be made today, too few for a photo. You can make more from "),
        (599, 0, "Only 1 more picture can be made today, too few for a photo."),
        (0, 100, "Too many of your pictures are still being made. Wait until one of them is ready."),
    ],
)
def test_reached_limit_is_explained_before_the_upload(
    browser: Browser,
    cloud: Driver,
    photo: Path,
    spent: Callable[..., None],
    pictures: int,
    active: int,
    said: str,
) -> None:
    spent(pictures, active)
    browser.open(link(cloud, user=1))
    browser.says("#usage", said)
    browser.choose(photo)
    browser.find("#preview")
    assert not browser.find("#make").is_enabled()
    assert not browser.all("#problem")
    if active:
        spent(0)
        browser.until(browser.find("#make").is_enabled, "an end of the wait")  # the page asks again by itself


def test_limit_reached_by_another_tab_is_explained(
    browser: Browser, cloud: Driver, photo: Path, spent: Callable[..., None]
) -> None:
    spent(0)
    browser.open(link(cloud, user=1))
    browser.says("#usage", "You can make 600 more pictures today.")
    spent(600)
    make(browser, photo)
    browser.says("#problem", "You have reached the limit of pictures for one day. It is possible again in ")
    browser.says("#usage", "You have reached the limit of pictures for one day. You can make more from ")
    assert not browser.find("#make").is_enabled()
    assert all("status of 429" in complaint for complaint in browser.complaints())


def test_canceled_pictures_are_shown_as_canceled(
    browser: Browser, cloud: Driver, stand_in: replicate.StandIn, photo: Path
) -> None:
    stand_in.set_faults(Fault(kind="slow_run", seconds=60))
    browser.open(link(cloud))
    make(browser, photo)
    browser.says("#status", "Three pictures are being drawn.")
    browser.click("#cancel")
    browser.says("#status", "Cancelled.")
    assert browser.find("#delete").is_displayed()


def test_canceled_upload_can_be_sent_again(browser: Browser, cloud: Driver, photo: Path) -> None:
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


def test_unsuitable_photo_is_explained_before_the_upload(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    browser.open(link(cloud))
    too_large = tmp_path / "large.heic"
    too_large.write_bytes(b"\0\0\0\x18ftypheic" + bytes(6_000_000))
    browser.choose(too_large)
    browser.says("#problem", "This photo is too large. The limit is 5.7 MB")
    text = tmp_path / "text.txt"
    text.write_text("no photo")
    browser.choose(text)
    browser.says("#problem", "This file cannot be used.")
    not_a_photo = tmp_path / "text.jpg"
    not_a_photo.write_text("no photo either")
    browser.choose(not_a_photo)
    browser.says("#problem", "This file cannot be used.")
    assert not browser.find("#make").is_enabled()


def test_file_of_another_type_is_explained_before_the_upload(
    browser: Browser, cloud: Driver, tmp_path: Path
) -> None:
    gif = tmp_path / "photo.jpg"
    Image.new("RGB", (64, 48), "red").save(gif, "GIF")
    browser.open(link(cloud))
    browser.choose(gif)
    browser.says("#problem", "This file cannot be used. Choose a JPEG, PNG, WebP or HEIC photo.")
    assert not browser.find("#make").is_enabled()


def test_photo_without_browser_preview_becomes_pictures(
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
    ids = [cloud.start(user=1) for _ in range(3)]
    for job_id in ids:
        cloud.end_of(job_id, user=1)
    browser.open(link(cloud, user=1))
    browser.count(".card", 3)
    browser.click(".card .open")
    wait_for_pictures(browser, 3)
    assert job_in(browser) == ids[-1]
    browser.click("#delete")
    browser.says("#status", "Deleted.")
    browser.count(".card", 2)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "undo"
    assert cloud.job(ids[-1], user=1)  # still there
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.count(".card", 3)
    wait_for_pictures(browser, 3)
    browser.click("#delete")
    browser.count(".card", 2)
    assert browser.pictures() == []
    browser.click(".card .remove")  # ends the time for undoing the first one
    browser.count(".card", 1)
    browser.until(
        lambda: cloud.request("GET", f"/api/v1/jobs/{ids[-1]}", user=1).status_code == 404, "a deletion"
    )
    browser.driver.get("about:blank")
    browser.until(
        lambda: cloud.request("GET", f"/api/v1/jobs/{ids[-2]}", user=1).status_code == 404, "a deletion"
    )


def test_list_loads_previews_only(browser: Browser, cloud: Driver) -> None:
    cloud.end_of(cloud.start(user=1), user=1)
    browser.open(link(cloud, user=1))
    browser.find(".card img.there")
    sources = {img.get_attribute("src") for img in browser.all(".card img") if img.get_attribute("src")}
    assert sources
    assert all("/previews/" in str(source) for source in sources)


def test_style_is_chosen_with_the_keyboard_and_repeated(browser: Browser, cloud: Driver, photo: Path) -> None:
    browser.open(link(cloud))
    browser.count(".style", 7)
    browser.choose(photo)
    first = browser.driver.find_element(By.CSS_SELECTOR, "#styles input")
    first.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.click("#make")
    wait_for_pictures(browser, 3)
    (job, *_) = cloud.request("GET", "/api/v1/jobs").json()["jobs"]
    assert job["style"] == "watercolour"
    browser.click("#frames .again")
    browser.count("#frames figure", 1)
    wait_for_pictures(browser, 1)
    (again, *_) = cloud.request("GET", "/api/v1/jobs").json()["jobs"]
    assert (again["style"], len(again["images"])) == ("watercolour", 1)
    assert again["job_id"] != job["job_id"]


def test_description_is_shown_in_a_browser(browser: Browser, cloud: Driver) -> None:
    browser.open(f"{cloud.printed['api']}/api/v1/docs")
    browser.find("#createJob pre")
    browser.find("#schema-JobView")
    for width in (390, 1280):
        browser.look(width, "light")
        wide = browser.driver.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert wide, width


def test_expired_picture_url_is_renewed(browser: Browser, cloud: Driver) -> None:
    job_id = cloud.start()
    job = cloud.end_of(job_id)
    old, photo = [image["preview_url"] for image in job["images"]], job["photo"]["preview_url"]
    browser.open(link(cloud))
    browser.click(".card .open")
    wait_for_pictures(browser, 3)
    browser.until(lambda: cloud.http.get(old[0]).status_code == 403, "the end of the presigned URL")
    browser.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    browser.driver.execute_script(
        "document.querySelectorAll('#frames img').forEach((img, index) => { img.src = arguments[0][index] })",
        old,
    )
    browser.until(lambda: len(set(browser.pictures()) - set(old)) == 3, "new presigned URLs")
    renewed = """
        const img = document.querySelector("#about-photo");
        return img.src !== arguments[0] && img.complete && img.naturalWidth > 0;
    """
    browser.driver.execute_script("document.querySelector('#about-photo').src = arguments[0]", photo)
    browser.until(lambda: browser.driver.execute_script(renewed, photo), "a new URL of the photo")
    # The browser logs each request with an expired URL.
    assert any("403" in complaint for complaint in browser.complaints())


def test_picture_is_downloaded_by_its_link(browser: Browser, cloud: Driver, tmp_path: Path) -> None:
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


@pytest.fixture
def cognito(cloud: Driver) -> CognitoIdentityProviderClient:
    aws = cloud.printed["aws"]
    client: CognitoIdentityProviderClient = boto3.client(
        "cognito-idp",
        endpoint_url=aws["endpoint"],
        region_name=aws["region"],
        aws_access_key_id=aws["access_key_id"],
        aws_secret_access_key=aws["secret_access_key"],
        config=Config(proxies={}),
    )
    return client


def make_user(cognito: CognitoIdentityProviderClient, name: str, *, permanent: bool = True) -> str:
    """Create a user with the password PASSWORD; return the client id for sign-in."""
    pool = cognito.list_user_pools(MaxResults=1)["UserPools"][0]["Id"]
    cognito.admin_create_user(
        UserPoolId=pool,
        Username=name,
        MessageAction="SUPPRESS",
        UserAttributes=[{"Name": "email", "Value": name}],
    )
    cognito.admin_set_user_password(UserPoolId=pool, Username=name, Password=PASSWORD, Permanent=permanent)
    return cognito.list_user_pool_clients(UserPoolId=pool)["UserPoolClients"][0]["ClientId"]


def sign_in(browser: Browser, name: str, password: str = PASSWORD) -> None:
    browser.find("#email").send_keys(name)
    browser.find("#password").send_keys(password, Keys.ENTER)


def session_of(browser: Browser) -> dict[str, str] | None:
    """Return the tokens that the browser stores."""
    kept = browser.driver.execute_script("return localStorage.getItem('triptych')")
    return json.loads(kept) if kept else None


def totp(secret: str) -> str:
    """Return the current code, by RFC 6238 with its defaults."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    digest = hmac.digest(key, int(time.time() // 30).to_bytes(8), "sha1")
    start = digest[-1] & 0xF
    return f"{int.from_bytes(digest[start : start + 4]) % 2**31 % 10**6:06}"


def enroll(cognito: CognitoIdentityProviderClient, client_id: str, name: str) -> str:
    """Enrol the user as the README says; return the secret of the authenticator app."""
    result = cognito.initiate_auth(
        ClientId=client_id,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
    )
    token = result["AuthenticationResult"]["AccessToken"]
    secret = cognito.associate_software_token(AccessToken=token)["SecretCode"]

    def verified() -> bool:
        with contextlib.suppress(cognito.exceptions.CodeMismatchException):
            cognito.verify_software_token(AccessToken=token, UserCode=totp(secret))
            return True
        return False

    assert verified() or verified()  # the code may change between its computation and its check
    cognito.set_user_mfa_preference(
        AccessToken=token, SoftwareTokenMfaSettings={"Enabled": True, "PreferredMfa": True}
    )
    return secret


def test_first_password_is_replaced_at_sign_in(
    browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient
) -> None:
    make_user(cognito, "new@example.com", permanent=False)
    browser.open(cloud.printed["api"])
    sign_in(browser, " new@example.com ")
    browser.find("#password-new").send_keys("Second-password-2", Keys.ENTER)
    browser.says("#who", "new@example.com")
    browser.click("#sign-out")
    sign_in(browser, "new@example.com", "Second-password-2")
    browser.find("#studio")
    # The page refreshes an expired token without a message.
    old = browser.driver.execute_script(EXPIRE)
    browser.driver.refresh()
    browser.until(
        lambda: old not in browser.driver.execute_script("return localStorage.triptych"), "a new token"
    )
    browser.says("#who", "new@example.com")


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("", "at least 12 characters, a lower-case letter, an upper-case letter, a digit, and a symbol"),
        ("Password-12", "at least 12 characters"),
        ("PASSWORD-1234", "a lower-case letter"),
        ("password-1234", "an upper-case letter"),
        ("Password-one-two", "a digit"),
        ("Password1234", "a symbol"),
        (" Password1234", "a symbol and no space at either end"),
    ],
)
def test_new_password_is_checked_before_it_is_sent(browser: Browser, password: str, missing: str) -> None:
    answer_cognito_with(browser, NEW_PASSWORD)
    sign_in(browser, "ada@example.com")
    browser.find("#password-new").send_keys(password, Keys.ENTER)
    browser.says("#door-problem", f"Your new password still needs {missing}.")
    assert [action for action, _ in sent_to_cognito(browser)] == ["InitiateAuth"]


@pytest.mark.parametrize("password", ["Password-1234", "Password 1234", "[Passw0rd`x~"])
def test_new_password_that_follows_the_rule_is_accepted(
    browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient, password: str
) -> None:
    name = f"{uuid.uuid4().hex}@example.com"
    make_user(cognito, name, permanent=False)
    browser.open(cloud.printed["api"])
    sign_in(browser, name)
    browser.find("#password-new").send_keys(password, Keys.ENTER)
    browser.says("#who", name)


def test_refused_new_password_is_explained(browser: Browser) -> None:
    answer_cognito_with(browser, NEW_PASSWORD, {"__type": "InvalidPasswordException", "message": "…"})
    sign_in(browser, "ada@example.com")
    browser.find("#password-new").send_keys(PASSWORD, Keys.ENTER)
    browser.says("#door-problem", "This password is not allowed. Choose one that follows the rule.")
    assert browser.find("#password-new").is_displayed()


def test_sign_in_with_a_code(browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient) -> None:
    name = "totp@example.com"
    secret = enroll(cognito, make_user(cognito, name), name)
    browser.open(cloud.printed["api"])
    sign_in(browser, name)
    code = browser.find("#code")
    code.send_keys("12345", Keys.ENTER)
    browser.says("#door-problem", "The code has six digits.")
    code.clear()
    code.send_keys(f"{(int(totp(secret)) + 500_000) % 10**6:06}", Keys.ENTER)
    browser.says("#door-problem", "This code is wrong. Enter the one that your app shows now.")

    def signed_in() -> bool:
        right = totp(secret)
        code.clear()
        code.send_keys(f"{right[:3]} {right[3:]}", Keys.ENTER)  # with a space, as apps show it
        said = "return document.querySelector('#door-problem').textContent"
        browser.until(lambda: browser.all("#studio") or browser.driver.execute_script(said), "an answer")
        return bool(browser.all("#studio"))

    assert signed_in() or signed_in()  # the code may change between its computation and its check
    browser.says("#who", name)
    assert all("status of 400" in complaint for complaint in browser.complaints())  # of the wrong code


@pytest.mark.parametrize("order", [("password", "code"), ("code", "password")])
def test_new_password_and_code_work_in_either_order(
    browser: Browser, cloud: Driver, order: tuple[str, str]
) -> None:
    challenges = {"password": NEW_PASSWORD, "code": CODE}
    first, second = ({**challenges[name], "Session": f"session-of-{name}"} for name in order)
    tokens = {"AuthenticationResult": {"IdToken": cloud.printed["tokens"][0], "RefreshToken": "refresh"}}
    answer_cognito_with(browser, first, second, tokens)
    sign_in(browser, "ada@example.com")
    for name in order:
        field, value = {"password": ("#password-new", PASSWORD), "code": ("#code", "123456")}[name]
        browser.find(field).send_keys(value, Keys.ENTER)
    browser.says("#who", "ada@example.com")
    _, *answered = sent_to_cognito(browser)
    responses = {
        "password": ("NEW_PASSWORD_REQUIRED", {"NEW_PASSWORD": PASSWORD}),
        "code": ("SOFTWARE_TOKEN_MFA", {"SOFTWARE_TOKEN_MFA_CODE": "123456"}),
    }
    assert [(action, body["ChallengeName"], body["Session"]) for action, body in answered] == [
        ("RespondToAuthChallenge", responses[name][0], f"session-of-{name}") for name in order
    ]
    assert [body["ChallengeResponses"] for _, body in answered] == [
        {"USERNAME": "the-user", **responses[name][1]} for name in order
    ]


@pytest.mark.parametrize(
    ("refusal", "said", "form"),
    [
        ("CodeMismatchException", "This code is wrong.", "#one-time-code"),
        ("ExpiredCodeException", "This code was used before or is too old.", "#one-time-code"),
        ("NotAuthorizedException", "Signing in took too long. Sign in again.", "#sign-in"),
    ],
)
def test_refused_code_is_explained(browser: Browser, refusal: str, said: str, form: str) -> None:
    answer_cognito_with(browser, CODE, {"__type": refusal, "message": "…"})
    sign_in(browser, "ada@example.com")
    browser.find("#code").send_keys("123456", Keys.ENTER)
    browser.says("#door-problem", said)
    assert browser.find(form).is_displayed()


def test_code_form_leads_back_to_sign_in(browser: Browser) -> None:
    answer_cognito_with(browser, CODE)
    sign_in(browser, "ada@example.com")
    browser.find("#code").send_keys("123")
    browser.click("#one-time-code .back")
    assert browser.find("#email").get_attribute("value") == ""
    assert not browser.all("#one-time-code")


def test_sign_out_revokes_the_refresh_token(
    browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient
) -> None:
    name = "leaver@example.com"
    client_id = make_user(cognito, name)
    browser.open(cloud.printed["api"])
    sign_in(browser, name)
    browser.says("#who", name)
    session = session_of(browser)
    assert session
    browser.click("#sign-out")
    browser.find("#sign-in")
    assert session_of(browser) is None

    def revoked() -> bool:
        try:
            cognito.initiate_auth(
                ClientId=client_id,
                AuthFlow="REFRESH_TOKEN_AUTH",
                AuthParameters={"REFRESH_TOKEN": session["refresh"]},
            )
        except cognito.exceptions.NotAuthorizedException:
            return True
        return False

    browser.until(revoked, "the end of the refresh token")


def test_sign_out_works_offline(
    browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient
) -> None:
    name = "offline@example.com"
    make_user(cognito, name)
    browser.open(cloud.printed["api"])
    sign_in(browser, name)
    browser.says("#who", name)
    browser.driver.set_network_conditions(
        offline=True, latency=0, download_throughput=-1, upload_throughput=-1
    )
    try:
        browser.click("#sign-out")
        browser.find("#sign-in")
        assert session_of(browser) is None
        complaints = browser.until(browser.complaints, "the console message of the failed request")
        assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in complaints)
        assert not browser.all("#door-problem")  # there is no error message
    finally:
        browser.driver.delete_network_conditions()


def test_late_token_refresh_does_not_undo_sign_out(
    browser: Browser, cloud: Driver, cognito: CognitoIdentityProviderClient
) -> None:
    name = "late@example.com"
    make_user(cognito, name)
    browser.open(cloud.printed["api"])
    sign_in(browser, name)
    browser.says("#who", name)
    browser.driver.execute_script(EXPIRE)
    script = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": DELAY_REFRESH}
    )
    try:
        browser.driver.refresh()
        browser.until(lambda: browser.driver.execute_script("return window.delayed > 0"), "a token refresh")
        browser.click("#sign-out")
        browser.find("#sign-in")
        browser.driver.execute_async_script("window.release().then(arguments[0])")
        assert session_of(browser) is None
        assert browser.all("#sign-in")
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_token_link_never_replaces_a_session(browser: Browser, cloud: Driver) -> None:
    browser.open(link(cloud))
    browser.says("#who", "ada@example.com")
    before = session_of(browser)
    browser.open(link(cloud, user=1))
    browser.says("#who", "ada@example.com")
    assert session_of(browser) == before
    assert browser.driver.current_url == cloud.printed["api"] + "/"
    browser.driver.execute_script("location.hash = arguments[0]", f"token={cloud.printed['tokens'][1]}")
    browser.until(
        lambda: browser.driver.current_url == cloud.printed["api"] + "/", "the removal of the token"
    )
    assert session_of(browser) == before
    assert browser.find("#who").text == "ada@example.com"


def test_token_link_signs_in_a_signed_out_visitor(browser: Browser, cloud: Driver) -> None:
    browser.open(cloud.printed["api"])
    browser.find("#sign-in")
    browser.driver.execute_script("location.hash = arguments[0]", f"token={cloud.printed['tokens'][1]}")
    browser.says("#who", "grace@example.com")


def test_token_link_does_not_sign_in_on_a_deployed_page(
    browser: Browser, cloud: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployed_page(cloud, monkeypatch) as url:
        browser.open(f"{url}#token={cloud.printed['tokens'][0]}")
        browser.find("#sign-in")
        assert session_of(browser) is None
        assert browser.driver.current_url == url
        browser.driver.execute_script("location.hash = arguments[0]", f"token={cloud.printed['tokens'][0]}")
        browser.until(lambda: browser.driver.current_url == url, "the removal of the token")
        assert session_of(browser) is None
        assert browser.all("#sign-in")
        browser.open("about:blank")
    assert url.removesuffix("/") in browser.origins()


def test_another_users_job_is_not_found_by_its_link(browser: Browser, cloud: Driver) -> None:
    job_id = cloud.start()
    cloud.end_of(job_id)
    browser.open(f"{link(cloud, user=1)}&job={job_id}")
    browser.says("#status", "These pictures are no longer there.")
    assert browser.pictures() == []
    assert all("status of 404" in complaint for complaint in browser.complaints())


def test_wrong_password_and_wrong_token_are_explained(browser: Browser, cloud: Driver) -> None:
    browser.open(cloud.printed["api"])
    browser.find("#email").send_keys("ada@example.com")
    browser.find("#password").send_keys("wrong", Keys.ENTER)
    browser.says("#door-problem", "The e-mail or the password is wrong.")
    browser.open(f"{cloud.printed['api']}/#token=nonsense")
    browser.says("#door-problem", "Your sign-in has ended. Sign in again.")
    complaints = browser.complaints()  # one of each refused request
    assert complaints
    assert all("status of 40" in complaint for complaint in complaints)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_never_wider_than_the_screen(
    browser: Browser, cloud: Driver, width: int, scheme: Literal["light", "dark"]
) -> None:
    job_id = cloud.start(user=1)
    cloud.end_of(job_id, user=1)
    browser.look(width, scheme, height=2400 if width == 390 else 1200)
    browser.open(cloud.printed["api"])
    browser.find("#sign-in")
    browser.screenshot(f"door-{width}-{scheme}")
    for challenge, field, problem in (
        (NEW_PASSWORD, "#password-new", "still needs"),
        (CODE, "#code", "six digits"),
    ):
        answer_cognito_with(browser, challenge)
        sign_in(browser, "ada@example.com")
        browser.find(field).send_keys("123", Keys.ENTER)
        browser.says("#door-problem", problem)
        browser.screenshot(f"{field.removeprefix('#')}-{width}-{scheme}")
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") == width
    browser.open(link(cloud, user=1) + f"&job={job_id}")
    wait_for_pictures(browser, 3)
    browser.find(".strip .there")
    browser.screenshot(f"page-{width}-{scheme}")
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") == width


def test_printed_link_signs_in(browser: Browser) -> None:
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
        browser.open("about:blank")  # before its local cloud ends
    finally:
        serve.send_signal(signal.SIGTERM)
        serve.communicate(timeout=20)
    browser.origins()  # forget the other local cloud's origin
