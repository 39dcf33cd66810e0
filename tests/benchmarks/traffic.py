"""Bytes that leave AWS or lie in it, and what a setting saves, in dollars for 1,000 and 1,000,000 jobs of three images.

A smaller photo for Replicate, previews in lists, links that browsers cache, and the retention. Jobs run in the local
cloud, and the bytes are those that its S3 served or holds. Only an output has the bytes of prices.toml, because the
stand-in for Replicate draws smaller ones than a model. Its images are noisier, so that their previews are larger.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.benchmarks import _prices, cost
from tests.benchmarks._prices import usd
from tests.benchmarks._report import Figure
from tests.benchmarks.photo import EDGE, PHOTOS, drawn
from tests.localcloud import replicate
from tests.localcloud.driving import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx

    from tests.localcloud.driving import Driver

IMAGES = 3
EDGES = (0, EDGE, 1536, 1024)  # pixels; 0 is the photo as it is
LISTED = 30  # jobs that a client's history shows
DAYS = (30, 365)  # of retention
MONTH = 365.25 / 12  # days


def measure() -> Iterator[Figure]:
    photo = drawn(PHOTOS[0])
    output = _prices.file().assumptions.output_bytes
    loaded = {}
    for edge in EDGES:
        with _job(photo, edge) as (cloud, job_id, loaded[edge]):
            if edge == EDGE:
                whole = _Cache(cloud.http).load([cloud.job(job_id)["photo"]["url"]]) + IMAGES * output
                browser = _Cache(cloud.http)
                small, again = (browser.load(_previews(cloud)) for _ in range(2))
                stored = _stored(cloud, job_id) + IMAGES * output
    for edge, size in loaded.items():
        yield from _transfer(
            f"photo of 12 MP to Replicate, MaxPhotoEdge {edge}", size, "the default", loaded[EDGE]
        )
    # Each job's history is shown once, with the photo and its images.
    for name, size in (("in previews", small), ("in previews that the browser has already", again)):
        shown = f"a history of {LISTED} jobs, {name}"
        yield from _transfer(shown, LISTED * size, "in whole images", LISTED * whole)
    for days in DAYS:
        for jobs in cost.SIZES:
            dollars = usd(s3_gb_month=jobs * stored / cost.GB * days / MONTH)
            name = f"a job of {stored / 1e6:.1f} MB kept in S3, RetentionDays {days}"
            yield Figure(name, dollars, f"$ for {jobs:,} jobs")


@contextmanager
def _job(photo: bytes, edge: int) -> Iterator[tuple[Driver, str, int]]:
    """Run a job in the local cloud; yield the cloud, the job's id, and the bytes that Replicate loaded."""
    with replicate.start(cost.TOKEN, allow_http_webhooks=True) as stand_in:
        options = ("--replicate-url", stand_in.url, "--parameter-overrides", f"MaxPhotoEdge={edge}")
        with serving(*options, environment={"REPLICATE_API_TOKEN": cost.TOKEN}) as cloud:
            cloud.photo = photo
            job_id = cloud.start()
            status = cloud.end_of(job_id)["status"]
            if status != "SUCCEEDED":
                raise RuntimeError(f"the job ended as {status}")
            fetches = [entry.fetched for entry in stand_in.ledger().predictions]
            yield cloud, job_id, sum(fetch.bytes for fetch in fetches if fetch)


class _Cache:
    """A client that keeps what it has loaded from a link, and asks whether that is still valid."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._etags: dict[str, str] = {}

    def load(self, links: Iterable[str]) -> int:
        """Load what these links lead to; return the bytes that S3 served, with the head of each answer."""
        served = 0
        for link in links:
            kept = {"if-none-match": self._etags[link]} if link in self._etags else {}
            answer = self._http.get(link, headers=kept)
            if answer.status_code != (304 if kept else 200):
                raise RuntimeError(f"{answer.status_code}: {answer.text}")
            self._etags[link] = answer.headers["etag"]
            head = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
            served += len(answer.content) + head
        return served


def _previews(cloud: Driver) -> list[str]:
    """Return the links of a list: the previews of the newest job's photo and images."""
    (job,) = cloud.request("GET", "/api/v1/jobs?limit=1").json()["jobs"]
    return [one["preview_url"] for one in (job["photo"], *job["images"])]


def _stored(cloud: Driver, job_id: str) -> int:
    """Return the bytes of a job in S3, without its outputs."""
    pages = cloud.aws("s3").get_paginator("list_objects_v2").paginate(Bucket=cloud.printed["bucket"])
    objects = [item for page in pages for item in page.get("Contents", ()) if f"/{job_id}/" in item["Key"]]
    return sum(item["Size"] for item in objects if not item["Key"].startswith("outputs/"))


def _transfer(name: str, size: int, against: str, baseline: int) -> Iterator[Figure]:
    """Yield what this many bytes for each job cost."""
    for jobs in cost.SIZES:
        dollars, least = (usd(transfer_out_gb=jobs * one / cost.GB) for one in (size, baseline))
        yield Figure(f"{name}: {size / 1e6:.3g} MB", dollars, f"$ for {jobs:,} jobs", against, least)
