"""Clients, and what they are made of, are made once, by whichever thread comes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from triptych.aws import bucket, events, queues, session
from triptych.replicate import downloads, transport
from triptych.runtime import tls
from triptych.runtime.once import once


class Maker:
    """Makes something, and notices when somebody else does at the same time."""

    def __init__(self) -> None:
        self.made = 0
        self.met = threading.Event()
        self._inside = threading.Semaphore(1)

    def __call__(self) -> object:
        if not self._inside.acquire(blocking=False):
            self.met.set()
            return None
        self.made += 1
        self.met.wait(0.2)  # long enough for anybody who may come in, too
        self._inside.release()
        return object()


def test_threads_that_ask_at_once_are_given_the_same_and_it_is_made_once() -> None:
    maker = Maker()
    thing = once(maker)
    with ThreadPoolExecutor(4) as pool:
        found = [one.result() for one in [pool.submit(thing) for _ in range(4)]]
    assert maker.made == 1
    assert not maker.met.is_set()
    assert all(one is found[0] for one in found)


def test_of_one_session_no_two_threads_make_clients() -> None:
    """boto3's session is not for that: once, two of them over one of botocore's made every client of S3 impossible."""
    maker = Maker()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one(), [once(maker) for _ in range(4)]))
    assert maker.made == 4
    assert not maker.met.is_set()


def test_every_client_is_made_so() -> None:
    for made in (
        events._events,
        session.botocore_session,
        session.boto3_session,
        downloads.http_client,
        bucket._s3,
        queues._sqs,
        tls.context,
        transport._ssm,
        transport.http_transport,
    ):
        assert isinstance(made, once)
