"""Outputs from named hosts, over HTTPS, through the checks that a production stack makes before it calls one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.localcloud import replicate, sample
from tests.localcloud.cloud import local_cloud
from tests.localcloud.driving import Driver
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.localcloud.internet import Internet
from tests.localcloud.replicate_faults import Fault
from tests.localcloud.tls_server import TlsServer

TOKEN = "r8_the_token_of_this_test"
PNG = b"\x89PNG\r\n\x1a\n" + b"an output" * 10 + b"IEND\xaeB`\x82"
PUBLIC, PRIVATE, LOOPBACK = "8.8.8.8", "10.0.0.1", "127.0.0.1"
ANSWERS = {
    "replicate.delivery": [[PUBLIC]],
    "private.replicate.delivery": [[PRIVATE]],
    "loopback.replicate.delivery": [[LOOPBACK]],
    "both.replicate.delivery": [[PUBLIC, PRIVATE]],
    "changing.replicate.delivery": [[PUBLIC], [PRIVATE]],
}


@dataclass
class Delivery:
    """A local cloud, the Replicate that it knows, and a server at the addresses that no output may come from."""

    cloud: Driver
    replicate: replicate.Server
    inside: list[Request]  # what reached that server

    def job(self, host: str, *faults: Fault, **fields: Any) -> dict[str, Any]:
        """Run a job whose outputs are at a host; return its end."""
        self.replicate.set_faults(faults)
        self.replicate.runner.delivery = f"https://{host}"
        self.inside.clear()
        return self.cloud.end_of(self.cloud.start(**fields))

    def fetches(self, job: dict[str, Any]) -> list[bool]:
        """Return of each fetch of the job's outputs at Replicate whether it carried the token."""
        predictions = self.replicate.ledger().predictions
        own = [entry for entry in predictions if entry.webhook and job["job_id"] in entry.webhook]
        return [fetch.authorized for entry in own for fetch in entry.output_fetches]


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    inside: list[Request] = []

    def answer(request: Request) -> Response:
        inside.append(request)
        return Response(200, (("content-type", "image/png"),), PNG)

    names = ["replicate.delivery", "*.replicate.delivery"]
    with (
        replicate.Server(TOKEN, seconds=0.3, allow_http_webhooks=True) as server,
        HttpServer().start(answer) as private,
        TlsServer(
            names, tmp_path_factory.mktemp("public"), lambda _: ("127.0.0.1", server.server_port)
        ) as outer,
        TlsServer(names, tmp_path_factory.mktemp("private"), lambda _: ("127.0.0.1", private.port)) as inner,
        pytest.MonkeyPatch.context() as patch,
        httpx.Client(trust_env=False, timeout=30) as http,
    ):
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        patch.setenv("REPLICATE_API_TOKEN", TOKEN)
        internet = Internet(
            ANSWERS,
            {PUBLIC: outer.port, PRIVATE: inner.port, LOOPBACK: inner.port},
            outer.certificate.read_text() + inner.certificate.read_text(),
        )
        with local_cloud(replicate_url=server.url, internet=internet) as cloud:
            yield Delivery(Driver(cloud.description(), http, sample.photo()), server, inside)
        server.shutdown()


@pytest.mark.parametrize("asks", [False, True], ids=["without the token", "with the token"])
def test_outputs_come_from_a_public_address_over_https(delivery: Delivery, asks: bool) -> None:  # noqa: FBT001  # a parameter of the test
    faults = [Fault(kind="output_token", status=401)] if asks else []
    job = delivery.job("replicate.delivery", *faults)
    assert job["status"] == "SUCCEEDED", job
    assert len(set(delivery.cloud.pictures(job))) == 3
    assert set(delivery.fetches(job)) == {asks}
    assert delivery.inside == []


@pytest.mark.parametrize("name", ["private", "loopback", "both"])
def test_output_at_an_address_that_is_not_public_is_refused(delivery: Delivery, name: str) -> None:
    job = delivery.job(f"{name}.replicate.delivery", image_count=1)
    assert job["status"] == "FAILED", job
    assert [image["error"]["code"] for image in job["images"]] == ["output_host_not_allowed"]
    assert delivery.fetches(job) == []
    assert delivery.inside == []


def test_output_comes_from_the_address_that_was_checked(delivery: Delivery) -> None:
    """A second look-up, for the request or for the one with the token, would find an address that is not public."""
    job = delivery.job("changing.replicate.delivery", Fault(kind="output_token", status=401), image_count=1)
    assert job["status"] == "SUCCEEDED", job
    assert set(delivery.fetches(job)) == {True}
    assert delivery.inside == []
