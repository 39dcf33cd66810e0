"""The page when something fails: the API, Cognito, S3, or the browser's own database. One server plays all of them."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By

from tests.localcloud.http_server import HttpServer, Request, Response
from tests.support.browser import MAY_BE_SKIPPED, Browser, browsing, short_pauses
from tests.support.page_function import answer_of, page_with

pytestmark = pytest.mark.skipif(MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
HOUR = 3600  # s
DRAWN = "Three pictures are being drawn."
ON_ITS_WAY = "The photo is on its way."
LOST = "The photo has not arrived, and this browser does not have it. Choose it again above."
TROUBLE = "The page cannot find out how far these pictures are. It tries again by itself."
UNSENT = "The photo could not be sent. Try again."
UNSENT_IN_KOREAN = "사진을 올리지 못했어요. 다시 시도해 주세요."
FAILED = "This did not work. Try again in a moment."

# Lets the browser close its database when the page uses it next, as Safari does in the background.
CLOSE_DATABASE = """
    const { transaction } = IDBDatabase.prototype;
    IDBDatabase.prototype.transaction = function (...about) {
      IDBDatabase.prototype.transaction = transaction;
      this.close();
      return transaction.apply(this, about);
    };
"""
BREAK_DATABASE = (
    "IDBDatabase.prototype.transaction = () => { throw new DOMException('closing', 'InvalidStateError'); };"
)
# Opens nothing, and never says so.
SILENCE_DATABASE = "indexedDB.open = () => ({});"
# Each lets the browser fail to read what its database keeps, until `mend`.
READS_FAIL = """
    const { get } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.get = () => { throw new DOMException('cannot be read', 'UnknownError'); };
    window.mend = () => { IDBObjectStore.prototype.get = get; };
"""
# Reads only when the test lets it `goOn`.
READS_WAIT = """
    const { get } = IDBObjectStore.prototype;
    IDBObjectStore.prototype.get = function (id) {
      const [asked, late] = [get.call(this, id), {}];
      asked.onsuccess = () => (window.goOn = () => ((late.result = asked.result), late.onsuccess()));
      return late;
    };
"""
READS_HANG = f"{SILENCE_DATABASE} window.mend = () => delete indexedDB.open;"
# Calls back with the ids of what the database keeps.
KEPT = """
    const [end] = arguments;
    indexedDB.open("triptych").onsuccess = ({ target }) => {
      const asked = target.result.transaction("photos").objectStore("photos").getAllKeys();
      asked.onsuccess = () => (target.result.close(), end(asked.result));
    };
"""
FORGET_ALL = """
    const [end] = arguments;
    import(document.querySelector("meta[name=modules]").content.split(" ").find((url) => url.includes("kept.js")))
      .then((kept) => kept.forgetAll()).then(end);
"""


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(out, "PNG")
    return out.getvalue()


PICTURE = picture()


def said(body: object, status: int = 200) -> Response:
    return Response(status, (("Content-Type", "application/json"),), json.dumps(body).encode())


def refused(status: int, code: str = "unavailable") -> Response:
    return said({"error": {"code": code, "message": "The API's own words."}}, status)


def token(seconds: float = HOUR) -> str:
    """Return a token that is valid for so long."""
    claims = {"sub": "ann", "email": "ann@example.com", "exp": time.time() + seconds}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.e30"


def path_of(request: Request) -> str:
    return request.target.partition("?")[0]


def expired(request: Request) -> bool:
    _, _, bearer = request.header("authorization").partition(" ")
    return bool(bearer) and json.loads(base64.b64decode(bearer.split(".")[1] + "=="))["exp"] < time.time()


@dataclass
class Stack:
    """The page's function before an API, a Cognito and an S3 that answer as a test says."""

    page: ModuleType
    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    styles: list[dict[str, str]] = field(default_factory=list)
    hears_of_uploads: bool = True
    own_issuer: bool = False
    scripted: list[tuple[str, Response]] = field(default_factory=list)
    constant: dict[str, Callable[[], Response]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        self.__init__(self.page, self.url)  # type: ignore[misc]  # each test has a new stack at the same URL
        self.usage = {"pictures_today": 0, "pictures_this_month": 0, "daily_pictures": 600}
        self.usage |= {"active_jobs": 0, "max_active_jobs": 100, "day_ends_at": time_in(6 * HOUR)}

    def script(self, start: str, *answers: Response) -> None:
        """Give these answers to the next requests that start so."""
        self.scripted += [(start, answer) for answer in answers]

    def always(self, start: str, act: Callable[[], Response]) -> None:
        """Response all requests that start so by calling `act`, until `never`."""
        self.constant[start] = act

    def never(self, start: str) -> None:
        del self.constant[start]

    def asked(self, start: str) -> list[Request]:
        """Return the requests that start so."""
        return [one for one in self.requests if f"{one.method} {one.target}".startswith(start)]

    def change(self, job_id: str, **what: Any) -> dict[str, Any]:
        """Make or change a job."""
        self.writes += 1
        images = [{"index": index, "status": "PENDING", "error": None} for index in range(3)]
        blank = dict.fromkeys(("started_at", "prompt", "style", "photo", "error", "upload")) | {
            "job_id": job_id,
            "status": "GENERATING",
            "created_at": time_in(-60),
            "images": images,
        }
        self.jobs[job_id] = {
            **self.jobs.get(job_id, blank),
            "updated_at": time_in(self.writes / 1000),
            **what,
        }
        return self.jobs[job_id]

    def upload_of(self, job_id: str) -> dict[str, Any]:
        self.writes += 1
        url = f"{self.url}s3/{job_id}?signature={self.writes}"
        return {"method": "PUT", "url": url, "headers": {"Content-Type": "image/jpeg"}}

    def answer(self, request: Request) -> Response:
        name = f"{request.method} {request.target}"
        with self.lock:
            if not path_of(request).startswith("/page/"):
                self.requests.append(request)
            for one in self.scripted:
                if name.startswith(one[0]):
                    self.scripted.remove(one)
                    return one[1]
            act = next((act for start, act in self.constant.items() if name.startswith(start)), None)
        if act:
            return act()
        return Response(401) if expired(request) else self.routine(request)

    def routine(self, request: Request) -> Response:
        """Response as a stack without failures does."""
        for route, act in ROUTES.items():
            if found := re.fullmatch(route, f"{request.method} {path_of(request)}"):
                return act(self, *found.groups())
        answer = Response(*answer_of(self.page, request.target))
        if self.own_issuer:
            body = answer.body.replace(b"clientId&quot;: &quot;client", b"clientId&quot;: &quot;")
            return replace(answer, body=body)
        return answer

    def list_jobs(self) -> Response:
        jobs = sorted(self.jobs.values(), key=lambda job: job["created_at"], reverse=True)
        return said({"jobs": [{**job, "upload": None} for job in jobs], "cursor": None})

    def create(self, **what: Any) -> Response:
        job = self.change(f"job-{len(self.jobs) + 1}", **what)
        return said({**job, "upload": job["upload"] and self.upload_of(job["job_id"])}, 201)

    def put(self, job_id: str) -> Response:
        if self.hears_of_uploads:
            self.change(job_id, status="GENERATING", upload=None)
        return Response(200)

    def delete(self, job_id: str) -> Response:
        del self.jobs[job_id]
        return Response(204)

    def job(self, job_id: str) -> Response:
        if job_id not in self.jobs:
            return refused(404, "job_not_found")
        job = self.jobs[job_id]
        return said({**job, "upload": job["upload"] and self.upload_of(job_id)})

    def wait_for(self, start: str, count: int = 1) -> list[Request]:
        """Wait for so many requests that start so; return all of them."""
        end = time.monotonic() + 20
        while len(self.asked(start)) < count:
            assert time.monotonic() < end, [f"{one.method} {one.target}" for one in self.requests]
            time.sleep(0.02)
        return self.asked(start)


SHOWN = Response(200, (("Content-Type", "image/png"),), PICTURE)
ROUTES: dict[str, Callable[..., Response]] = {
    "POST /": lambda _: said({"AuthenticationResult": {"IdToken": token()}}),
    "GET /api/v1/usage": lambda stack: said(stack.usage),
    "GET /api/v1/styles": lambda stack: said({"styles": stack.styles}),
    "GET /api/v1/styles/.+/preview|GET /picture.png": lambda _: SHOWN,
    "GET /api/v1/jobs": Stack.list_jobs,
    "POST /api/v1/jobs": lambda stack: stack.create(status="AWAITING_UPLOAD", upload=True),
    "POST /api/v1/jobs/.+/again": Stack.create,
    "PUT /s3/(.+)": Stack.put,
    "GET /api/v1/jobs/([^/]+)": Stack.job,
    "DELETE /api/v1/jobs/([^/]+)": Stack.delete,
    "POST /api/v1/jobs/([^/]+)/cancel": lambda stack, job_id: said(stack.change(job_id, status="CANCELED")),
}


def time_in(seconds: float) -> str:
    now = time.time() + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}+00:00"


@pytest.fixture(scope="module")
def server() -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        stack = Stack(page_with(patch))
        with HttpServer().start(stack.answer) as http:
            stack.url = f"{http.url}/"
            page_with(patch, BUCKET_URL=http.url, COGNITO_URL=stack.url, MAX_UPLOAD_BYTES="100000")
            yield stack


@pytest.fixture
def stack(server: Stack) -> Stack:
    server.reset()
    return server


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.patience = 15
        yield browser


@pytest.fixture
def browser(window: Browser, stack: Stack) -> Iterator[Browser]:
    """A signed-in browser that allows no console message, except of what a test let fail."""
    window.driver.get("about:blank")
    kept = {"origin": stack.url.removesuffix("/"), "storageTypes": "local_storage,indexeddb"}
    window.driver.execute_cdp_cmd("Storage.clearDataForOrigin", kept)
    window.complaints()
    sign_in(window, stack)
    yield window
    window.driver.get("about:blank")
    assert [one for one in window.complaints() if "Failed to load resource" not in one] == []


@pytest.fixture
def hurried(browser: Browser) -> Iterator[Browser]:
    """A browser with short pauses."""
    with browser.starting_with(short_pauses(50)):
        yield browser


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30), "green").save(path)
    return path


def sign_in(browser: Browser, stack: Stack, seconds: float = HOUR) -> None:
    """Keep tokens in the browser's storage, as a sign-in does."""
    browser.driver.get(f"{stack.url}page/icon.svg")
    session = {"id": token(seconds), "refresh": "refresh", "until": (time.time() + HOUR) * 1000}
    browser.driver.execute_script("localStorage.setItem('triptych', arguments[0])", json.dumps(session))


def show(browser: Browser, stack: Stack, job_id: str = "") -> None:
    browser.open(f"{stack.url}#job={job_id}" if job_id else stack.url)
    browser.find("#studio")


def choose(browser: Browser, photo: Path) -> None:
    browser.choose(photo)
    browser.find("#preview")


def make(browser: Browser, photo: Path) -> None:
    choose(browser, photo)
    browser.click("#make")


def keep_unsent(browser: Browser, stack: Stack, photo: Path) -> None:
    """Order pictures of a photo that S3 refuses, so that the browser keeps it."""
    stack.script("PUT /s3/", Response(413))
    show(browser, stack)
    make(browser, photo)
    browser.find("#resend")


def ended(stack: Stack, job_id: str, **what: Any) -> dict[str, Any]:
    """Make a job with three stored images."""
    image = {"status": "STORED", "error": None, "url": "/picture.png", "preview_url": "/picture.png"}
    images = [{"index": index, "prediction_id": f"p{index}", **image} for index in range(3)]
    return stack.change(job_id, status="SUCCEEDED", images=images, **what)


def kept(browser: Browser) -> list[str]:
    """Return the ids of the jobs for which the browser's database keeps something."""
    return [str(one) for one in browser.driver.execute_async_script(KEPT)]


# ── uploads ──


@pytest.mark.parametrize("status", [400, 403, 503])
def test_upload_that_s3_refuses_is_repeated(browser: Browser, stack: Stack, photo: Path, status: int) -> None:
    stack.script("PUT /s3/", Response(status))
    show(browser, stack)
    make(browser, photo)
    browser.says("#status", DRAWN)
    first, second = stack.asked("PUT /s3/")
    assert first.target != second.target  # each has a URL of its own
    assert first.body == second.body == photo.read_bytes()


def test_photo_that_s3_refused_is_sent_again(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(413))
    show(browser, stack)
    make(browser, photo)
    browser.says("#status", UNSENT)
    browser.click("#resend")
    browser.says("#status", DRAWN)
    assert len(stack.asked("PUT /s3/")) == 2
    browser.until(lambda: kept(browser) == [], "nothing kept")


def test_failed_upload_is_told_in_the_new_language(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(413))
    show(browser, stack)
    make(browser, photo)
    browser.says("#status", UNSENT)
    browser.click("#language")
    browser.says("#status", UNSENT_IN_KOREAN)


def test_broken_upload_shows_no_progress(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.always("PUT /s3/", lambda: Response(503))
    show(browser, stack)
    make(browser, photo)
    browser.says("#status", "The connection broke.")
    assert browser.find("#percent").text == "0%"


def test_photo_that_cannot_be_sent_again_is_lost(browser: Browser, stack: Stack, photo: Path) -> None:
    keep_unsent(browser, stack, photo)
    browser.driver.execute_async_script(FORGET_ALL)
    browser.click("#resend")
    browser.says("#status", LOST)
    assert not browser.all("#resend")


def test_failing_api_does_not_end_an_upload(hurried: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(503))
    stack.script("GET /api/v1/jobs/", refused(500), refused(429, "too_many_at_once"), refused(503))
    show(hurried, stack)
    make(hurried, photo)
    hurried.says("#status", DRAWN)
    assert len(stack.asked("PUT /s3/")) == 2


def test_upload_survives_a_closed_database(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(413))
    show(browser, stack)
    browser.driver.execute_script(CLOSE_DATABASE)
    make(browser, photo)
    browser.find("#resend")
    browser.driver.refresh()
    browser.says("#status", DRAWN)  # the photo was kept


@pytest.mark.parametrize("fault", [BREAK_DATABASE, SILENCE_DATABASE])
def test_upload_needs_no_database(hurried: Browser, stack: Stack, photo: Path, fault: str) -> None:
    with hurried.starting_with(fault):
        show(hurried, stack)
        make(hurried, photo)
        hurried.says("#status", DRAWN)


def test_photo_that_cannot_be_read_is_kept(browser: Browser, stack: Stack, photo: Path) -> None:
    keep_unsent(browser, stack, photo)
    with browser.starting_with(READS_FAIL):
        show(browser, stack, "job-1")
        browser.says("#status", UNSENT)
    browser.driver.execute_script("window.mend()")
    assert kept(browser) == ["job-1"]
    browser.click("#resend")
    browser.says("#status", DRAWN)


def test_photo_is_sent_when_the_database_answers_again(hurried: Browser, stack: Stack, photo: Path) -> None:
    keep_unsent(hurried, stack, photo)
    with hurried.starting_with(READS_HANG):
        show(hurried, stack, "job-1")
        hurried.says("#status", UNSENT)
    hurried.driver.execute_script("window.mend()")
    hurried.says("#status", DRAWN)


@pytest.mark.parametrize("status", [403, 404])
def test_photo_outlasts_a_proxy_that_refuses(
    browser: Browser, stack: Stack, photo: Path, status: int
) -> None:
    keep_unsent(browser, stack, photo)
    stack.always("GET /api/v1/jobs/job-1", lambda: Response(status, body=b"<html>Refused</html>"))
    stack.wait_for("GET /api/v1/jobs/job-1", len(stack.asked("GET /api/v1/jobs/job-1")) + 2)
    browser.driver.execute_async_script("setTimeout(arguments[0], 300)")
    assert kept(browser) == ["job-1"]
    assert browser.find("#status").text == UNSENT
    stack.never("GET /api/v1/jobs/job-1")
    browser.click("#resend")
    browser.says("#status", DRAWN)


def test_broken_answer_does_not_end_an_upload(hurried: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(503))
    stack.script("GET /api/v1/jobs/", Response(200, body=b'{"job_id": "jo'))
    show(hurried, stack)
    make(hurried, photo)
    hurried.says("#status", DRAWN)


def test_canceled_photo_is_not_sent(browser: Browser, stack: Stack, photo: Path) -> None:
    with browser.starting_with(READS_WAIT):
        show(browser, stack)
        make(browser, photo)
        browser.until(
            lambda: browser.driver.execute_script("return Boolean(window.goOn)"), "the photo to be read"
        )
        browser.click("#cancel")
        browser.driver.execute_script("window.goOn()")
    browser.says("#status", "Cancelled.")
    browser.driver.execute_async_script("setTimeout(arguments[0], 300)")
    assert stack.asked("PUT /s3/") == []


@pytest.mark.parametrize("fault", ["", BREAK_DATABASE], ids=["", "no database"])
def test_copied_photo_is_not_called_lost(browser: Browser, stack: Stack, fault: str) -> None:
    stack.change("job-1", status="AWAITING_UPLOAD")
    with browser.starting_with(fault):
        show(browser, stack, "job-1")
        browser.says("#status", ON_ITS_WAY)
        stack.wait_for("GET /api/v1/jobs/job-1", 2)
        browser.says("#status", ON_ITS_WAY)


def test_sent_photo_is_not_called_lost(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.hears_of_uploads = False
    show(browser, stack)
    make(browser, photo)
    stack.wait_for("PUT /s3/")
    browser.until(lambda: not browser.all("#upload"), "the end of the upload")
    browser.says("#status", ON_ITS_WAY)
    browser.driver.refresh()
    stack.requests.clear()
    stack.wait_for("GET /api/v1/jobs/job-1", 2)
    browser.says("#status", ON_ITS_WAY)
    stack.change("job-1", status="GENERATING", upload=None)
    browser.says("#status", DRAWN)
    assert stack.asked("PUT /s3/") == []
    browser.until(lambda: kept(browser) == [], "no mark")


def test_photo_of_another_browser_is_called_lost(browser: Browser, stack: Stack) -> None:
    stack.change("job-1", status="AWAITING_UPLOAD", upload=True)
    show(browser, stack, "job-1")
    browser.says("#status", LOST)


def test_lost_photo_is_told_in_the_last_minutes(browser: Browser, stack: Stack) -> None:
    stack.change("job-1", status="AWAITING_UPLOAD", upload=None, created_at=time_in(-21 * 60))
    show(browser, stack, "job-1")
    browser.says("#status", LOST)


def test_list_does_not_hide_that_a_photo_is_lost(browser: Browser, stack: Stack) -> None:
    stack.change("job-1", status="AWAITING_UPLOAD", upload=True)
    show(browser, stack, "job-1")
    browser.says("#status", LOST)
    over = threading.Event()

    def late() -> Response:
        over.wait(20)
        return stack.job("job-1")

    stack.always("GET /api/v1/jobs/job-1", late)
    ended(stack, "job-2")
    browser.driver.execute_script("new BroadcastChannel('triptych').postMessage('jobs')")  # asks for the list
    browser.count(".card", 2)
    assert browser.find("#status").text == LOST
    over.set()


# ── the session ──


@pytest.mark.parametrize(
    "failure",
    [
        said({"__type": "TooManyRequestsException"}, 400),
        said({"__type": "InternalErrorException"}, 500),
        Response(502, body=b"<html>Bad Gateway</html>"),
    ],
    ids=["throttled", "failing", "behind a proxy"],
)
def test_failing_renewal_does_not_end_the_session(hurried: Browser, stack: Stack, failure: Response) -> None:
    ended(stack, "job-1")
    sign_in(hurried, stack, seconds=-1)
    stack.script("POST /", *[failure] * 3)
    show(hurried, stack)
    hurried.find(".card")
    assert not hurried.all("#sign-in")


def test_failing_renewal_is_told_in_the_words_of_the_page(browser: Browser, stack: Stack) -> None:
    sign_in(browser, stack, seconds=-1)
    stack.always("POST /", lambda: said({"__type": "InternalErrorException", "message": "Oops."}, 500))
    show(browser, stack)
    browser.says("#earlier-problem", FAILED)


def test_refused_renewal_ends_the_session(browser: Browser, stack: Stack) -> None:
    sign_in(browser, stack, seconds=-1)
    stack.always("POST /", lambda: said({"__type": "NotAuthorizedException"}, 400))
    browser.open(stack.url)
    browser.says("#door-problem", "Your sign-in has ended. Sign in again.")


@pytest.fixture
def other_tab(browser: Browser, stack: Stack, photo: Path) -> Iterator[str]:
    """Begin an upload that does not end; switch to another tab. Yield the handle of the first one."""
    stack.always("PUT /s3/", lambda: Response(503))
    show(browser, stack)
    make(browser, photo)
    browser.says("#status", "The connection broke.")
    first = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    try:
        browser.driver.get(stack.url)
        browser.find("#studio")
        yield first
    finally:
        for handle in browser.driver.window_handles:
            if handle != first:
                browser.driver.switch_to.window(handle)
                browser.driver.close()
        browser.driver.switch_to.window(first)


def test_session_lost_in_another_tab_keeps_photos(browser: Browser, stack: Stack, other_tab: str) -> None:
    stack.always("POST /", lambda: said({"__type": "NotAuthorizedException"}, 400))
    stack.always("GET /api/v1/usage", lambda: Response(401))
    browser.driver.refresh()
    browser.find("#sign-in")
    browser.driver.switch_to.window(other_tab)
    browser.says("#door-problem", "Your sign-in has ended. Sign in again.")
    for start in ("POST /", "GET /api/v1/usage", "PUT /s3/"):
        stack.never(start)
    sign_in(browser, stack)
    show(browser, stack, "job-1")
    browser.says("#status", DRAWN)


def test_sign_out_in_another_tab_drops_photos(browser: Browser, stack: Stack, other_tab: str) -> None:
    browser.click("#sign-out")
    browser.find("#sign-in")
    browser.driver.switch_to.window(other_tab)
    browser.find("#sign-in")
    assert browser.driver.find_element(By.ID, "door-problem").text == ""
    assert kept(browser) == []


def test_token_of_an_unknown_user_drops_no_photo(browser: Browser, stack: Stack, photo: Path) -> None:
    keep_unsent(browser, stack, photo)
    stack.always("GET /api/", lambda: Response(401))
    stack.always("POST /", lambda: said({"__type": "NotAuthorizedException"}, 400))
    browser.driver.execute_script(
        "localStorage.triptych = JSON.stringify({ ...JSON.parse(localStorage.triptych), id: 'wrong' })"
    )
    browser.open(stack.url)
    browser.find("#sign-in")
    browser.driver.execute_async_script("setTimeout(arguments[0], 300)")
    assert kept(browser) == ["job-1"]


def paste(browser: Browser, stack: Stack, text: str) -> None:
    """Sign in with a token of another issuer."""
    stack.own_issuer = True
    browser.driver.execute_script("localStorage.clear()")
    browser.open(stack.url)
    browser.find("#token")
    browser.driver.execute_script("document.querySelector('#token').value = arguments[0]", text)
    browser.click("#paste-token button")


def test_pasted_token_is_kept_only_when_the_api_accepts_it(browser: Browser, stack: Stack) -> None:
    judged = threading.Event()

    def late() -> Response:
        judged.wait(20)
        return Response(401)

    stack.always("GET /api/v1/jobs?limit=1", late)
    paste(browser, stack, "wrong")
    stack.wait_for("GET /api/v1/jobs?limit=1")
    found = browser.driver.execute_script("return localStorage.getItem('triptych')")
    judged.set()
    assert found is None
    browser.says("#door-problem", "This token is not accepted. Paste another one.")


def test_token_with_line_breaks_is_accepted(browser: Browser, stack: Stack) -> None:
    pasted = token()
    paste(browser, stack, f" Bearer {pasted[:20]}\r\n  {pasted[20:]}\n")
    browser.says("#who", "ann@example.com")
    assert stack.asked("GET /api/v1/jobs?limit=1")[0].header("authorization") == f"Bearer {pasted}"


# ── orders ──


def test_refused_sample_is_not_called_an_unusable_file(browser: Browser, stack: Stack) -> None:
    show(browser, stack)
    stack.always("GET /page/sample.jpg", lambda: Response(429))
    browser.click("#sample")
    browser.says("#problem", "There are too many requests. Try again in a moment.")


def test_one_more_picture_is_ordered_once(browser: Browser, stack: Stack) -> None:
    ended(stack, "job-1")
    again = "POST /api/v1/jobs/job-1/images/0/again"
    stack.script(again, refused(503), refused(404, "photo_gone"))
    show(browser, stack, "job-1")
    for words in (FAILED, "That photo is no longer there.", DRAWN):
        browser.click(".again")
        browser.says("#status", words)
    browser.driver.back()
    browser.click(".again")
    keys = [one.header("idempotency-key") for one in stack.wait_for(again, 4)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_key_of_a_refused_order_is_not_used_again(browser: Browser, stack: Stack, photo: Path) -> None:
    stack.script("POST /api/v1/jobs", refused(503), refused(409, "idempotency_key_used"))
    show(browser, stack)
    make(browser, photo)
    browser.says("#problem", FAILED)
    browser.click("#make")
    browser.says("#problem", "These pictures were deleted. Press again to make new ones.")
    browser.click("#make")
    browser.says("#status", DRAWN)
    first, second, third = (one.header("idempotency-key") for one in stack.asked("POST /api/v1/jobs"))
    assert first == second != third


def test_styles_come_after_a_failure(hurried: Browser, stack: Stack) -> None:
    stack.styles = [{"id": "oil", "name": "Oil", "description": "", "preview": ""}]
    stack.script("GET /api/v1/styles", refused(429, "too_many_at_once"), refused(503))
    show(hurried, stack)
    hurried.count(".style", 2)


def test_style_is_used_again_without_its_button(browser: Browser, stack: Stack) -> None:
    ended(stack, "job-1", style="neon", photo={"preview_url": "/picture.png", "url": "/picture.png"})
    stack.script("GET /api/v1/styles", refused(404))
    show(browser, stack, "job-1")
    browser.click("#use-again")
    browser.find("#preview")
    browser.click("#make")
    (order,) = stack.wait_for("POST /api/v1/jobs")
    assert json.loads(order.body) == {"photo_of": "job-1", "style": "neon"}


def test_hidden_style_is_not_used_for_another_photo(browser: Browser, stack: Stack, photo: Path) -> None:
    ended(stack, "job-1", style="neon", photo={"preview_url": "/picture.png", "url": "/picture.png"})
    stack.script("GET /api/v1/styles", refused(404))
    show(browser, stack, "job-1")
    browser.click("#use-again")
    browser.find("#preview")
    browser.choose(photo)
    browser.until(lambda: "blob:" in str(browser.find("#preview").get_attribute("src")), "the photo")
    browser.click("#make")
    (order,) = stack.wait_for("POST /api/v1/jobs")
    assert "style" not in json.loads(order.body)


@pytest.mark.parametrize("shown", [0, 2], ids=["before the list", "after the list"])
def test_style_that_is_gone_is_not_sent(browser: Browser, stack: Stack, shown: int) -> None:
    ended(stack, "job-1", style="gone", photo={"preview_url": "/picture.png", "url": "/picture.png"})
    stack.styles = [{"id": "oil", "name": "Oil", "description": "", "preview": ""}]
    chosen = threading.Event()

    def late() -> Response:
        chosen.wait(20)
        return said({"styles": stack.styles})

    if not shown:
        stack.always("GET /api/v1/styles", late)
    show(browser, stack, "job-1")
    browser.count(".style", shown)
    browser.click("#use-again")
    browser.find("#preview")
    chosen.set()
    browser.count(".style", 2)
    browser.click("#make")
    (order,) = stack.wait_for("POST /api/v1/jobs")
    assert json.loads(order.body) == {"photo_of": "job-1"}


def test_style_is_named_when_the_list_comes(hurried: Browser, stack: Stack) -> None:
    ended(stack, "job-1", style="mine")
    stack.styles = [{"id": "mine", "name": "My style", "description": "", "preview": ""}]
    stack.script("GET /api/v1/styles", *[refused(503)] * 3)
    show(hurried, stack, "job-1")
    hurried.says("#about-style", "My style")
    hurried.says(".asked", "My style")


def test_style_is_named_by_its_id_without_the_list(hurried: Browser, stack: Stack) -> None:
    ended(stack, "job-1", style="mine")
    stack.always("GET /api/v1/styles", lambda: refused(503))
    show(hurried, stack, "job-1")
    hurried.until(lambda: hurried.find("#about-style").text == "mine", "the id")


def test_preview_that_cannot_be_loaded_leaves_no_sign(hurried: Browser, stack: Stack) -> None:
    stack.styles = [{"id": "oil", "name": "Oil", "description": "", "preview": "/api/v1/styles/oil/preview"}]
    stack.always("GET /api/v1/styles/oil/preview", lambda: refused(503))
    show(hurried, stack)
    hurried.count(".style", 2)
    stack.wait_for("GET /api/v1/styles/oil/preview", 2)
    assert not hurried.all(".style img")
    hurried.until(lambda: not hurried.driver.find_elements(By.CSS_SELECTOR, ".style img"), "no picture")
    assert len(stack.asked("GET /api/v1/styles/oil/preview")) == 4


def test_style_previews_are_loaded_two_at_a_time(browser: Browser, stack: Stack) -> None:
    names = ["oil", "pencil", "neon", "ink"]
    stack.styles = [
        {"id": name, "name": name, "description": "", "preview": f"/api/v1/styles/{name}/preview"}
        for name in names
    ]
    running = []
    most = [0]

    def slowly() -> Response:
        running.append(1)
        most.append(len(running))
        time.sleep(0.1)
        running.pop()
        return SHOWN

    stack.script("GET /api/v1/styles/pencil/preview", refused(503))
    stack.always("GET /api/v1/styles/", slowly)
    show(browser, stack)
    browser.count(".style img", len(names))
    assert max(most) <= 2


# ── what is left today ──


def test_failed_usage_is_asked_again(hurried: Browser, stack: Stack, photo: Path) -> None:
    stack.usage |= {"pictures_today": 600}
    show(hurried, stack)
    hurried.says("#usage", "You have reached the limit of pictures for one day.")
    choose(hurried, photo)
    stack.usage |= {"pictures_today": 0}
    stack.script("GET /api/v1/usage", refused(503))
    hurried.driver.execute_script(
        "document.querySelector('#make').disabled = false; document.querySelector('#composer').requestSubmit()"
    )
    hurried.says("#usage", "You can make 600 more pictures today.")
    assert 30 in hurried.driver.execute_script("return window.pauses")


def test_pictures_given_back_later_are_counted(browser: Browser, stack: Stack) -> None:
    stack.usage |= {"pictures_today": 597}
    stack.change("job-1")
    show(browser, stack, "job-1")
    browser.says("#usage", "You can make 3 more pictures today.")
    browser.click("#cancel")
    browser.says("#status", "Cancelled.")
    stack.wait_for("GET /api/v1/usage")
    stack.usage |= {"pictures_today": 594}
    browser.says("#usage", "You can make 6 more pictures today.")


@pytest.mark.parametrize(("days", "seconds"), [(1, 60), (-40, 24 * HOUR)])
def test_wrong_clock_asks_for_usage_rarely(hurried: Browser, stack: Stack, days: int, seconds: int) -> None:
    wrong = f"const {{ now }} = Date; Date.now = () => now() + {days * 24 * HOUR * 1000};"
    sign_in(hurried, stack, seconds=100 * 24 * HOUR)
    until = 'localStorage.triptych = localStorage.triptych.replace(/"until": \\d+/, \'"until": \' + 1e15)'
    hurried.driver.execute_script(until)
    with hurried.starting_with(wrong):
        show(hurried, stack)
        hurried.says("#usage", "You can make 600 more pictures today.")
        pauses = hurried.driver.execute_script("return window.pauses")
    assert seconds in pauses
    assert len(stack.asked("GET /api/v1/usage")) == 1


# ── jobs ──


def test_one_picture_has_its_own_words_in_korean(browser: Browser, stack: Stack) -> None:
    job = ended(stack, "job-1")
    stack.change("job-1", images=job["images"][:1])
    show(browser, stack, "job-1")
    browser.click("#language")
    browser.says("#status", "그림이 완성됐어요.")


def test_trouble_is_shown_as_long_as_it_lasts(hurried: Browser, stack: Stack) -> None:
    stack.change("job-1")
    show(hurried, stack, "job-1")
    hurried.says("#status", DRAWN)
    stack.always("GET /api/v1/jobs/job-1", lambda: refused(503))
    hurried.says("#status", TROUBLE)
    stack.never("GET /api/v1/jobs/job-1")
    hurried.says("#status", DRAWN)


def test_broken_answer_is_asked_for_again(hurried: Browser, stack: Stack) -> None:
    broken = Response(200, (("ETag", '"one"'), ("Cache-Control", "no-store")), b'{"job_id": "jo')
    stack.script("GET /api/v1/jobs/job-1", broken)
    stack.change("job-1")
    show(hurried, stack, "job-1")
    hurried.says("#status", DRAWN)
    assert stack.asked("GET /api/v1/jobs/job-1")[1].header("if-none-match") == ""


def test_trouble_does_not_hide_a_failed_upload(hurried: Browser, stack: Stack, photo: Path) -> None:
    stack.script("PUT /s3/", Response(413))
    stack.always("GET /api/v1/jobs/job-1", lambda: refused(503))
    show(hurried, stack)
    make(hurried, photo)
    stack.wait_for("GET /api/v1/jobs/job-1", 2)
    hurried.says("#status", UNSENT)


def test_end_of_a_trouble_clears_no_other_message(hurried: Browser, stack: Stack) -> None:
    stack.change("job-1")
    show(hurried, stack, "job-1")
    hurried.says("#status", DRAWN)
    stack.script("POST /api/v1/jobs/job-1/cancel", refused(429, "too_many_at_once"))
    hurried.click("#cancel")
    words = "You are sending too many requests. Try again in a moment."
    hurried.says("#status", words)
    stack.script("GET /api/v1/jobs/job-1", refused(503))
    stack.wait_for("GET /api/v1/jobs/job-1", len(stack.asked("GET /api/v1/jobs/job-1")) + 4)
    assert hurried.find("#status").text == words


def test_failed_deletion_leaves_the_next_undo(browser: Browser, stack: Stack) -> None:
    for name in ("job-1", "job-2"):
        ended(stack, name)
    stack.script("DELETE /api/v1/jobs/", refused(503))
    show(browser, stack)
    browser.count(".card", 2)
    browser.click(".card .remove")
    browser.count(".card", 1)
    browser.click(".card .remove")
    browser.says("#earlier-problem", FAILED)
    browser.count(".card", 1)  # the one that was not deleted is there again
    browser.click("#undo")
    browser.count(".card", 2)
    assert len(stack.asked("DELETE /api/v1/jobs/")) == 1
    browser.click("#language")
    browser.until(lambda: not browser.all("#earlier-problem"), "no words of the old language")


def test_empty_page_of_a_filter_removes_no_older_job(browser: Browser, stack: Stack) -> None:
    """The newest jobs may be so many that a page of the failed ones is empty, though older ones have failed."""
    for number in range(4):
        ended(stack, f"job-{number}")
    show(browser, stack)
    browser.count(".card", 4)
    failed = {**stack.change("job-9", created_at=time_in(-HOUR)), "status": "FAILED"}
    first, second = said({"jobs": [], "cursor": "older"}), said({"jobs": [failed], "cursor": None})
    stack.always("GET /api/v1/jobs?", lambda: second if "cursor=" in stack.requests[-1].target else first)
    browser.driver.execute_script(
        "const filter = document.querySelector('#filter');"
        "filter.value = 'FAILED'; filter.dispatchEvent(new Event('change'))"
    )
    browser.count(".card", 0)
    browser.click("#more")
    browser.count(".card", 1)
    asked = len(stack.asked("GET /api/v1/jobs?"))
    browser.driver.execute_script("new BroadcastChannel('triptych').postMessage('jobs')")  # asks for the list
    stack.wait_for("GET /api/v1/jobs?", asked + 1)
    browser.driver.execute_async_script("setTimeout(arguments[0], 300)")
    browser.count(".card", 1)


def test_failed_deletion_is_told_until_the_language_changes(browser: Browser, stack: Stack) -> None:
    ended(stack, "job-1")
    stack.script("DELETE /api/v1/jobs/", refused(503))
    show(browser, stack)
    browser.click(".card .remove")
    browser.driver.execute_script("dispatchEvent(new Event('pagehide'))")  # ends the time for an undo
    browser.says("#toast-text", FAILED)
    browser.click("#language")
    browser.says("#sign-out", "로그아웃")
    assert not browser.all("#toast")
