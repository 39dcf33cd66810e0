"""The webhooks' signing secret and the token: how long they are kept, and how soon a failure is repeated."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest

from tests.support.jobs import START
from triptych.replicate import transport, webhooks
from triptych.replicate.tags import Tag
from triptych.runtime import clock

TAG = Tag("0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", 2, 1)
SIGNATURE = "v1," + base64.b64encode(bytes(32)).decode()


class World:
    """Replicate and AWS: they answer with a secret and a token, or fail."""

    def __init__(self) -> None:
        self.time = START
        self.key: str | None = "whsec_one"
        self.token: str | None = "a token"
        self.asked: list[str] = []

    def at(self, seconds: float) -> None:
        self.time = START + timedelta(seconds=seconds)

    def read(self, *_: object) -> webhooks._Secret:
        self.asked.append("secret")
        if self.key is None:
            raise transport.ReplicateUnavailableError("HTTP 503")
        return webhooks._Secret(key=self.key)

    def read_token(self) -> str:
        self.asked.append("token")
        if self.token is None:
            raise transport.ReplicateUnavailableError("SSM")
        return self.token

    def fails(self, seconds: float) -> bool:
        """Return whether the secret cannot be read then, and forget what was asked."""
        self.at(seconds)
        self.asked.clear()
        try:
            webhooks.signing_secret()
        except transport.ReplicateUnavailableError:
            return True
        return False


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(clock, "now", lambda: world.time)
    monkeypatch.setattr(transport, "read", world.read)
    monkeypatch.setattr(transport, "token", world.read_token)
    monkeypatch.setattr(webhooks, "_kept", webhooks._Kept())
    monkeypatch.setattr(webhooks, "_unread", webhooks._Failures())
    return world


def test_secret_is_kept_for_ten_minutes(world: World) -> None:
    assert webhooks._known_secret(START) is None
    assert webhooks.signing_secret() == "whsec_one"
    world.key = "whsec_two"
    world.at(599.9)
    assert webhooks._known_secret(world.time) == webhooks.signing_secret() == "whsec_one"
    world.at(600)
    assert webhooks._known_secret(world.time) is None
    assert webhooks.signing_secret() == "whsec_two"
    assert world.asked == ["secret"] * 2


def test_secret_that_signed_nothing_is_fetched_again_once_a_minute(world: World) -> None:
    webhooks.signing_secret()
    world.key = "whsec_two"
    world.at(59.9)
    assert webhooks.signing_secret(fresh=True) == "whsec_one"
    world.at(60)
    assert webhooks.signing_secret(fresh=True) == "whsec_two"
    world.at(61)
    assert webhooks.signing_secret(fresh=True) == "whsec_two"
    assert world.asked == ["secret"] * 2


def test_old_secret_is_better_than_none(world: World) -> None:
    webhooks.signing_secret()
    world.key = None
    world.at(700)
    assert webhooks.signing_secret() == "whsec_one"
    assert len(world.asked) == 2
    world.at(701)
    assert webhooks.signing_secret() == "whsec_one"
    assert len(world.asked) == 2


def test_failure_is_repeated_ever_later(world: World) -> None:
    """Meanwhile a forgery holds no process."""
    world.key = None
    now = 0.0
    for wait in (5, 10, 20, 40, 60, 60):
        assert world.fails(now)
        assert world.asked == ["secret"]
        assert world.fails(now + wait - 0.1)
        assert world.asked == []
        now += wait
    world.key = "whsec_one"
    assert not world.fails(now)
    world.key = None
    webhooks._kept.secret = None
    assert world.fails(now + 1)
    assert world.asked == ["secret"]  # a success begins anew
    assert world.fails(now + 5.9)
    assert world.asked == []
    assert world.fails(now + 6)
    assert world.asked == ["secret"]


def test_unreadable_token_is_read_again_ever_later(world: World) -> None:
    world.token = None
    now: datetime = START
    for wait in (5, 10, 20):
        for later in (0, wait - 0.1):
            with pytest.raises(transport.ReplicateUnavailableError):
                webhooks._token(now + timedelta(seconds=later))
        now += timedelta(seconds=wait)
    assert world.asked == ["token"] * 3
    world.token = "a token"
    assert webhooks._token(now) == "a token"
    world.token = None
    for later in (1, 5.9, 6):
        with pytest.raises(transport.ReplicateUnavailableError):
            webhooks._token(now + timedelta(seconds=later))
    assert world.asked == ["token"] * 6


# ── what a forgery costs ──


def refused(world: World, query: str, headers: dict[str, str], body: str = "{}") -> str:
    """Return why a webhook is refused, and what was asked for it."""
    world.asked.clear()
    with pytest.raises(webhooks.WebhookRejectedError) as error:
        webhooks.verified(headers, body, query, is_base64=body != "{}")
    return " ".join([str(error.value), *world.asked])


def test_forgery_costs_as_little_as_it_knows(world: World) -> None:
    query = TAG.on("https://x", "a token").partition("?")[2]
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(START.timestamp())),
        "webhook-signature": SIGNATURE,
    }
    assert refused(world, query, headers, "no base64!") == "not base64"
    assert refused(world, "image=1", headers) == "query"
    assert refused(world, query, {**headers, "webhook-signature": "v1,AAAA"}) == "headers"
    assert refused(world, query, {**headers, "webhook-id": ""}) == "headers"
    assert refused(world, TAG.on("https://x", "another").partition("?")[2], headers) == "key token"
    assert refused(world, query, headers) == "signature token secret"
    assert refused(world, query, headers) == "signature token"  # the secret is known
    assert refused(world, TAG.on("https://x", "another").partition("?")[2], headers) == "signature token"
