"""Both clients are those of today's description, and each runs a whole job."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, override
from uuid import uuid4

import httpx
import pytest

from make_pictures import make_pictures
from tests.clients import generators
from tests.clients.generators import HERE, PYTHON, TYPESCRIPT
from tests.environment import ROOT
from tests.localcloud import replicate
from tests.localcloud.driving import Driver, serving
from tests.localcloud.replicate_faults import Fault
from tests.support import browser, npm
from tests.support.readme import section
from triptych_client import AuthenticatedClient
from triptych_client.api.jobs import get_job
from triptych_client.models import Refusal
from whole_job import whole_job

# A page of another site, which makes pictures of the photo in its field and shows them.
PAGE = """
<!doctype html><title>Another site</title><link rel="icon" href="data:,">
<input type="file" id="file"><p id="state"></p><div id="frames"></div>
<script type="module">
  import { makePictures } from "./make_pictures.js";
  const [api, token] = location.hash.slice(1).split(",");
  document.querySelector("#file").onchange = async ({ target }) => {
    try {
      for (const src of await makePictures(target.files[0], api, token)) {
        document.querySelector("#frames").append(Object.assign(new Image(), { src }));
      }
      document.querySelector("#state").textContent = "made";
    } catch (error) {
      document.querySelector("#state").textContent = `failed: ${error}`;
    }
  };
</script>
"""
TOKEN = "r8_the_token_of_this_test"
AGAIN = "The description has changed. Run python3 -m tests.clients, and commit both clients."
SOURCES = HERE / "typescript"
# What a client sees in a whole job. The model fails once.
SEEN = {
    "preview": "RIFF",
    "same key, same job": True,
    "first end": "PARTIAL",
    "why": ["content_rejected"],
    "end after the retry": "SUCCEEDED",
    "second retry": [409, "nothing_to_retry"],
    "pictures": 3,
    "sizes": True,
    "not changed": 304,
    "one more": ["SUCCEEDED", None],
    "canceled": "CANCELED",
    "pages": [2, 1, 0],
    "succeeded": [1, 0],
    "another's": [],
    "counted": True,
    "too large": [413, "photo_too_large"],
    "no token": [401, "Unauthorized"],
    "deleted": [204, 204, 204],
    "gone": [404, "job_not_found"],
}


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_answers_of_api_gateway_itself_are_read(status: int) -> None:
    """It answers 500 and 503 if no function can, as on an account with few concurrent executions."""
    client = AuthenticatedClient(base_url="https://api.example.com", token="t")
    answer = httpx.MockTransport(lambda _: httpx.Response(status, json={"message": "of its own"}))
    client.set_httpx_client(httpx.Client(base_url="https://api.example.com", transport=answer))
    read = get_job.sync(uuid4(), client=client)
    assert isinstance(read, Refusal)
    assert read.message == "of its own"


needs_node = pytest.mark.skipif(
    npm.MISSING and not npm.REQUIRED, reason="there is no node with npm here: no TypeScript"
)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[replicate.StandIn]:
    with replicate.start(TOKEN, seconds=0.1, allow_http_webhooks=True) as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The origin of another site than the API's, and the folder that it serves."""
    folder = tmp_path_factory.mktemp("site")

    class Handler(SimpleHTTPRequestHandler):
        @override
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, directory=str(folder), **options)

        @override
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture(scope="module")
def cloud(stand_in: replicate.StandIn, site: tuple[str, Path]) -> Iterator[Driver]:
    options = ["--replicate-url", stand_in.url, "--parameter-overrides", f"AllowedOrigins={site[0]}"]
    with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}) as driver:
        yield driver


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generators.describe(tmp_path_factory.mktemp("description"))


def on_npm[**P, T](call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call what needs npm's packages. Skip the test where no registry is reached, except in CI."""
    try:
        return call(*arguments, **options)
    except npm.UnreachableError as error:
        if npm.REQUIRED:
            raise
        pytest.skip(f"npm reaches no package registry: {error}")


@pytest.fixture(scope="module")
def compiled(site: tuple[str, Path]) -> Path:
    folder = site[1]
    on_npm(generators.compile_typescript, SOURCES, folder)
    shutil.copy(HERE / "package.json", folder)  # it makes them modules
    return folder


def run_node(compiled: Path, module: str, function: str, cloud: Driver) -> Any:
    photo = compiled / "photo.jpg"
    photo.write_bytes(cloud.photo)
    command = [str(npm.NODE), str(SOURCES / "run.mjs"), str(compiled / module), function, str(photo)]
    done = subprocess.run(
        [*command, cloud.api, cloud.tokens[1]],
        env={"PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr + cloud.log()[-3000:]
    return json.loads(done.stdout)


def differing(one: Path, other: Path) -> list[str]:
    """Return the files that are not the same in both folders."""
    names = {
        str(file.relative_to(folder))
        for folder in (one, other)
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names
    _, unequal, missing = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    return sorted([*unequal, *missing])


def test_python_client_is_that_of_todays_description(description: Path, tmp_path: Path) -> None:
    generators.generate_python(description, tmp_path / PYTHON)
    assert differing(tmp_path / PYTHON, HERE / PYTHON) == [], AGAIN


@needs_node
def test_typescript_client_is_that_of_todays_description(description: Path, tmp_path: Path) -> None:
    on_npm(generators.generate_typescript, description, tmp_path / TYPESCRIPT)
    assert differing(tmp_path / TYPESCRIPT, HERE / TYPESCRIPT) == [], AGAIN


def test_changed_description_makes_another_client(description: Path, tmp_path: Path) -> None:
    changed = tmp_path / "openapi.json"
    changed.write_text(description.read_text().replace('"cancelJob"', '"stopJob"'))
    generators.generate_python(changed, tmp_path / PYTHON)
    assert set(differing(tmp_path / PYTHON, HERE / PYTHON)) == {
        "api/jobs/cancel_job.py",
        "api/jobs/stop_job.py",
    }


def test_python_client_runs_a_whole_job(cloud: Driver, stand_in: replicate.StandIn) -> None:
    stand_in.set_faults(Fault(kind="fail", times=1))
    assert whole_job(cloud.photo, cloud.api, cloud.tokens[0]) == SEEN


@needs_node
def test_typescript_client_runs_a_whole_job(
    compiled: Path, cloud: Driver, stand_in: replicate.StandIn
) -> None:
    stand_in.set_faults(Fault(kind="fail", times=1))
    assert run_node(compiled, "whole_job.js", "wholeJob", cloud) == SEEN


@needs_node
def test_typescript_is_checked_strictly(tmp_path: Path) -> None:
    sources = tmp_path / "typescript"
    shutil.copytree(SOURCES, sources)
    shutil.copy(HERE / "package.json", tmp_path)
    example = sources / "make_pictures.ts"
    example.write_text(example.read_text().replace("image.url ?? []", "image.address ?? []"))
    with pytest.raises(RuntimeError, match="'address' does not exist on type 'ImageView'"):
        on_npm(generators.compile_typescript, sources, tmp_path / "compiled")


def test_python_example_makes_pictures(cloud: Driver) -> None:
    pictures = make_pictures(cloud.photo, cloud.api, cloud.tokens[0])
    assert len({cloud.http.get(url).raise_for_status().content for url in pictures}) == 3


@needs_node
def test_typescript_example_makes_pictures(compiled: Path, cloud: Driver) -> None:
    pictures = run_node(compiled, "make_pictures.js", "makePictures", cloud)
    assert len({cloud.http.get(url).raise_for_status().content for url in pictures}) == 3


@needs_node
@pytest.mark.skipif(browser.MAY_BE_SKIPPED, reason="there is no chromium with its chromedriver here")
def test_typescript_example_runs_on_a_page_of_another_site(
    compiled: Path, cloud: Driver, site: tuple[str, Path], tmp_path: Path
) -> None:
    (compiled / "page.html").write_text(PAGE)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(cloud.photo)
    with browser.browsing(tmp_path / "profile") as page:
        page.open(f"{site[0]}/page.html#{cloud.api},{cloud.tokens[0]}")
        page.choose(photo)
        page.says("#state", "made")
        page.until(lambda: len(page.pictures()) == 3, "three pictures")
        assert page.complaints() == []


@pytest.mark.parametrize(
    ("language", "file"), [("python", "make_pictures.py"), ("typescript", "make_pictures.ts")]
)
def test_document_shows_the_tested_example(language: str, file: str) -> None:
    text = (HERE / language / file).read_text()
    assert f"```{language}\n{text}```" in section("Run a job with a generated client")


def test_lock_of_npm_holds_hashes_and_no_download_address() -> None:
    lock = (HERE / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')


def test_generated_files_are_marked() -> None:
    attributes = (ROOT / ".gitattributes").read_text()
    for client in (PYTHON, TYPESCRIPT):
        assert f"/tests/clients/{client}/** linguist-generated" in attributes
