"""Clients and their parts are made once, by the first thread that needs them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from triptych.aws import bucket, event_bus, parameters, queues, session
from triptych.replicate import downloads, transport
from triptych.runtime import tls
from triptych.runtime.once import once


class Maker:
    """Makes an object; notices a second thread that makes one at the same time."""

    def __init__(self) -> None:
        self.made = 0
        self.met = threading.Event()
        self._inside = threading.Semaphore(1)

    def __call__(self) -> object:
        if not self._inside.acquire(blocking=False):
            self.met.set()
            return None
        self.made += 1
        self.met.wait(0.2)  # long enough for another thread to enter
        self._inside.release()
        return object()


def test_concurrent_threads_share_one_object() -> None:
    maker = Maker()
    thing = once(maker)
    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(thing) for _ in range(4)]]
    assert maker.made == 1
    assert not maker.met.is_set()
    assert all(one is found[0] for one in found)


def test_two_clients_are_never_made_at_once() -> None:
    """boto3's session is not thread-safe: two sessions over one of botocore's broke every S3 client."""
    maker = Maker()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one(), [once(maker) for _ in range(4)]))
    assert maker.made == 4
    assert not maker.met.is_set()


def test_every_client_is_made_once() -> None:
    for made in (
        event_bus._events,
        session.botocore_session,
        session.boto3_session,
        downloads.http_client,
        bucket._s3,
        queues._sqs,
        queues._impatient_sqs,
        tls.context,
        parameters.provider,
        transport.http_transport,
    ):
        assert isinstance(made, once)
