"""The local cloud's AWS server has the same behaviours as AWS, where MiniStack's evidence needs no more than a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localcloud import aws
from tests.rehearsal import evidence
from tests.rehearsal.evidence import CHECKS, Case
from tests.rehearsal.ministack import Ministack

SERVED = (
    evidence.put_as_signed,
    evidence.put_of_another_type,
    evidence.put_of_another_length,
    evidence.put_without_a_signed_header,
    evidence.put_with_an_altered_signature,
    evidence.put_after_expiry,
    evidence.eight_puts_at_once,
    evidence.put_with_an_unsigned_encoding,
    evidence.put_with_a_wrong_checksum,
    evidence.get_without_a_signature,
    evidence.preflight_of_a_bucket_without_cors,
    evidence.notification_of_an_upload,
    evidence.delay_visibility_and_redrive,
    evidence.fair_queue,
    evidence.fifty_transactions,
)
CASES = [case for case in CHECKS if case.check in SERVED]


@pytest.fixture(scope="module")
def local() -> Iterator[Ministack]:
    server = aws.start()  # it takes the key that MiniStack takes
    yield Ministack(server.endpoint, Path(), 0)
    server.stop()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_local_cloud_behaves_as_aws(local: Ministack, case: Case) -> None:
    assert case.seen(local) == case.aws
