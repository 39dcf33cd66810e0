"""The signature of a webhook: only a valid one is accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.replicate.webhooks import is_signed

# The test vector of the standard-webhooks project.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
GOOD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
BAD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="
SENT = datetime.fromtimestamp(1614265330, UTC)


def headers(signature: str = GOOD, **changes: str) -> dict[str, str]:
    known = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": signature,
    }
    return known | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(
    "signature",
    [GOOD, f"{BAD} {GOOD}", f"v2,other {GOOD}", f"v1,!!! {GOOD}", f"nonsense {GOOD} v1,", f"  {GOOD}  "],
)
def test_one_good_signature_is_enough(signature: str) -> None:
    assert is_signed(headers(signature), BODY, SECRET, SENT)


@pytest.mark.parametrize(
    "signature",
    [
        BAD,
        GOOD.replace("v1,", "v9,"),
        GOOD.removeprefix("v1,"),
        "",
        "v1,",
        "v1",
        ",",
        "v1,ü",
        "v1," + "A" * 99,
    ],
)
def test_bad_signature_is_refused(signature: str) -> None:
    assert not is_signed(headers(signature), BODY, SECRET, SENT)


@pytest.mark.parametrize("change", [b"", b" ", BODY + b" ", BODY.replace(b"2", b"3", 1)])
def test_any_change_of_the_body_is_refused(change: bytes) -> None:
    assert not is_signed(headers(), change, SECRET, SENT)


@pytest.mark.parametrize("name", ["webhook_id", "webhook_timestamp"])
def test_id_and_timestamp_are_signed_too(name: str) -> None:
    assert not is_signed(headers(**{name: "1614265331"}), BODY, SECRET, SENT)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_refused(name: str) -> None:
    assert not is_signed({key: value for key, value in headers().items() if key != name}, BODY, SECRET, SENT)


@pytest.mark.parametrize(("seconds", "accepted"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_timestamp_may_differ_by_up_to_five_minutes(seconds: int, *, accepted: bool) -> None:
    assert is_signed(headers(), BODY, SECRET, SENT + timedelta(seconds=seconds)) is accepted


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1e9", "1614265330.0", "٣", "9" * 400, " 1614265330"])
def test_timestamp_that_is_not_a_number_is_refused(timestamp: str) -> None:
    assert not is_signed(headers(webhook_timestamp=timestamp), BODY, SECRET, SENT)


def test_secret_of_another_account_is_refused() -> None:
    assert not is_signed(headers(), BODY, "whsec_" + base64.b64encode(b"other").decode(), SENT)
    assert not is_signed(headers(), BODY, "whsec_not base64", SENT)


@given(
    body=st.binary(max_size=200),
    signature=st.text(max_size=60),
    webhook_id=st.text(max_size=20),
    timestamp=st.text(max_size=20),
)
def test_arbitrary_input_is_refused_without_an_exception(
    body: bytes, signature: str, webhook_id: str, timestamp: str
) -> None:
    given_headers = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    assert is_signed(given_headers, body, SECRET, SENT) is False


@given(body=st.binary(max_size=500), key=st.binary(min_size=1, max_size=64))
def test_body_signed_with_the_secret_is_accepted(body: bytes, key: bytes) -> None:
    digest = hmac.new(key, b"msg_1.1614265330." + body, hashlib.sha256).digest()
    signed = headers("v1," + base64.b64encode(digest).decode(), webhook_id="msg_1")
    assert is_signed(signed, body, "whsec_" + base64.b64encode(key).decode(), SENT)
