"""Replicate's HTTP API on an account: each request has one answer."""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qsl

from tests.support.replicate import creation
from tests.support.replicate.account import OtherRow
from tests.support.replicate.refusals import NOT_FOUND, UNAUTHENTICATED, Json, RefusedError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.replicate.account import Account
    from tests.support.replicate.prediction import Prediction

Route = Literal["create", "get", "list", "cancel", "secret", "account", "model", "output"]

PREFER_WAIT = re.compile(r"wait(?:=([1-9]|[1-5][0-9]|60))?")
ROUTES: tuple[tuple[str, re.Pattern[str], Route], ...] = (
    ("POST", re.compile(r"/v1/predictions"), "create"),
    ("POST", re.compile(r"/v1/(?:models|deployments)/(?P<name>[^/]+/[^/]+)/predictions"), "create"),
    ("GET", re.compile(r"/v1/predictions"), "list"),
    ("GET", re.compile(r"/v1/predictions/(?P<id>[^/]+)"), "get"),
    ("POST", re.compile(r"/v1/predictions/(?P<id>[^/]+)/cancel"), "cancel"),
    ("GET", re.compile(r"/v1/webhooks/default/secret"), "secret"),
    ("GET", re.compile(r"/v1/account"), "account"),
    ("GET", re.compile(r"/v1/models/(?P<name>[^/]+/[^/]+)(?:/versions/(?P<version>[^/]+))?"), "model"),
    ("GET", re.compile(r"/outputs/(?P<id>[^/]+)/(?P<file>[^/]+)"), "output"),
)


class Call(NamedTuple):
    """A request to a known route. `parts` are those of the path. The names of `headers` are lower-case."""

    route: Route
    parts: dict[str, str]
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content_type(self) -> str:
        problem = self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED}
        return "application/problem+json" if problem else "application/json"

    @property
    def content(self) -> bytes:
        """The body in JSON. Rows of other users, which are most of a busy account's list, are encoded once."""
        rows = self.body.get("results")
        if not isinstance(rows, list):
            return json.dumps(self.body).encode()
        texts = [row.text if isinstance(row, OtherRow) else json.dumps(row) for row in rows]
        others = json.dumps({name: value for name, value in self.body.items() if name != "results"})
        return f'{others[:-1]}, "results": [{", ".join(texts)}]}}'.encode()


def call(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Call:
    """Find the route of a request.

    Raises:
        RefusedError: 404 or 405, there is none.
    """
    path, _, query = target.partition("?")
    matches = [(verb, match, route) for verb, pattern, route in ROUTES if (match := pattern.fullmatch(path))]
    for verb, match, route in matches:
        if verb == ("GET" if method == "HEAD" else method):
            return Call(route, match.groupdict(default=""), dict(parse_qsl(query)), headers, body)
    if matches:
        raise RefusedError(405, {"detail": f'Method "{method}" not allowed.', "status": 405})
    raise RefusedError(404, NOT_FOUND)


class Api:
    """The API of an account."""

    def __init__(self, account: Account, token: str, *, allow_http_webhooks: bool = False) -> None:
        """Serve an account.

        Args:
            account: The account.
            token: The API token that is accepted.
            allow_http_webhooks: Accept webhook URLs with http too; Replicate accepts only https.
        """
        self.account = account
        self.token = token
        self.allow_http_webhooks = allow_http_webhooks

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: int) -> Answer:
        """Answer a request, also one that is refused."""
        try:
            asked = call(method, target, headers, body)
            self.authenticate(headers)
            limits = self.account.limit("create" if asked.route == "create" else "other", now)
            answer = self.serve(asked, now)
        except RefusedError as refusal:
            return Answer(refusal.status, refusal.body, refusal.headers)
        return Answer(answer.status, answer.body, limits)

    def authenticate(self, headers: Mapping[str, str]) -> None:
        """Check the token.

        Raises:
            RefusedError: 401, it is missing or wrong.
        """
        if not self.has_token(headers):
            raise RefusedError(401, UNAUTHENTICATED)

    def has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(token.encode(), self.token.encode())
        return known and scheme.lower() in {"bearer", "token"}

    def serve(self, asked: Call, now: int) -> Answer:
        """Apply a request that is neither unauthenticated nor throttled.

        Raises:
            RefusedError: Replicate would refuse it.
        """
        account, parts = self.account, asked.parts
        status = 200
        match asked.route:
            case "create":
                status, body = 201, account.view(self._create(asked, now))
            case "get":
                body = account.view(account.get(parts["id"], now))
            case "cancel":
                body = account.view(account.cancel(parts["id"], now))
            case "list":
                body = account.page(asked.query, now)
            case "secret":
                body = {"key": account.secret}
            case "model":
                body = creation.describe_model(parts["name"], parts["version"])
            case "account":
                body = {"type": "user", "username": "stand-in", "name": "Stand-in", "github_url": None}
            case "output":  # each stand-in has outputs of its own
                raise RefusedError(404, NOT_FOUND)
        return Answer(status, body)

    def _create(self, asked: Call, now: int) -> Prediction:
        wait_seconds(asked)
        request = creation.read(
            asked.parts.get("name"),
            asked.body,
            asked.headers.get("cancel-after"),
            allow_http_webhooks=self.allow_http_webhooks,
        )
        return self.account.create(request, now)


def wait_seconds(asked: Call) -> int | None:
    """Return how long a create request waits for the prediction's end; None if it does not.

    Raises:
        RefusedError: 422, the header Prefer is invalid.
    """
    if not (prefer := asked.headers.get("prefer")):
        return None
    wait = PREFER_WAIT.fullmatch(prefer)
    if not wait:
        raise invalid(("Prefer", "must be wait, or wait=1 to wait=60"))
    return int(wait[1] or 60)
