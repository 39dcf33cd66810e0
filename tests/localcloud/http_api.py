"""API Gateway's HTTP API: routes, JWT authorizers, CORS, and the Lambda proxy integration with payload format 2.0.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import httpx
import jwt

from tests.localcloud.functions import THROTTLED, TOO_LARGE
from tests.localcloud.http_server import Request, Response, json_message
from tests.localcloud.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.localcloud.functions import Functions
    from tests.localcloud.stack import Cors, HttpApi, Route

INTEGRATION_SECONDS = 30.0  # API Gateway's timeout for a function
KEYS_SECONDS = (
    1.0  # an unknown key id makes the authorizer fetch the keys again, but not more often than this
)
# What API Gateway answers if Lambda did not invoke the function.
NOT_INVOKED = {TOO_LARGE: (413, "Request Entity Too Large"), THROTTLED: (503, "Service Unavailable")}
ABSOLUTE = re.compile(r"^https?://[^/?]*", re.IGNORECASE)
HOP_BY_HOP = frozenset(
    {"connection", "content-length", "date", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
TEXT = re.compile(
    r"text/.*|application/(json|javascript|xml|x-www-form-urlencoded|.*\+(json|xml))", re.IGNORECASE
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_log = logging.getLogger(__name__)


class UnauthorizedError(Exception):
    """The route's authorizer accepts no token of the request. The message is the WWW-Authenticate header."""


@dataclass(frozen=True)
class Match:
    """A route, and the values of its path variables."""

    route: Route
    parameters: dict[str, str]

    @property
    def key(self) -> str:
        return self.route.path if self.route.path == "$default" else f"{self.route.method} {self.route.path}"


class Gateway:
    """The handler of the stack's HTTP API.

    Args:
        api: The routes, authorizers and CORS settings.
        functions: The functions that the routes invoke.
        cognito: The URL of Cognito's keys: moto's endpoint.
        account: The stack's account id.
    """

    def __init__(self, api: HttpApi, functions: Functions, *, cognito: str, account: str) -> None:
        self._api = api
        self._functions = functions
        self._account = account
        self._throttles = {key: Throttle(rate) for key, rate in api.throttles.items()}
        self._keys = {name: _Keys(authorizer.issuer, cognito) for name, authorizer in api.authorizers.items()}

    def __call__(self, request: Request) -> Response:
        origin = request.header("origin")
        cors = self._api.cors
        if (
            cors
            and origin
            and request.method == "OPTIONS"
            and request.header("access-control-request-method")
        ):
            return Response(204, cors_headers(cors, origin, preflight=True))
        request_id = f"{uuid.uuid4().hex[:15]}="
        response = self._answer(request, request_id)
        headers = [*response.headers, ("apigw-requestid", request_id)]
        if cors and origin:  # API Gateway replaces the function's CORS headers
            headers = [pair for pair in headers if not pair[0].startswith("access-control-")]
            headers += cors_headers(cors, origin, preflight=False)
        return Response(response.status, tuple(headers), response.body)

    def _answer(self, request: Request, request_id: str) -> Response:
        path, _, query = ABSOLUTE.sub("", request.target).partition("?")
        matched = match(self._api.routes, request.method, path)
        if matched is None or not self._permits(matched):
            return (
                json_message(404, "Not Found") if matched is None else json_message(429, "Too Many Requests")
            )
        claims = None
        if matched.route.authorizer is not None:
            try:
                claims = self._claims(matched.route.authorizer, request)
            except UnauthorizedError as error:
                refusal = json_message(401, "Unauthorized")
                return Response(401, (*refusal.headers, ("www-authenticate", str(error))), refusal.body)
        event = self._event(request, matched, unquote(path), query)
        event["requestContext"] = self._context(request, matched, unquote(path), request_id, claims)
        future = self._functions.submit(matched.route.function, json.dumps(event).encode())
        try:
            result = future.result(INTEGRATION_SECONDS)
        except TimeoutError:
            return json_message(503, "Service Unavailable")
        if result.function_error in NOT_INVOKED:
            return json_message(*NOT_INVOKED[result.function_error])
        try:
            if result.function_error is None:
                return response_from(result.payload)
        except ValueError as error:
            _log.warning("%s: the function's answer is not a valid response: %s", matched.key, error)
        return json_message(500, "Internal Server Error")

    def _permits(self, matched: Match) -> bool:
        throttle = self._throttles.get(matched.key)
        return throttle is None or throttle.permits()

    def _claims(self, authorizer: str, request: Request) -> dict[str, object]:
        token = re.sub(r"(?i)^bearer\s+", "", request.header("authorization").strip())
        if not token:
            raise UnauthorizedError("Bearer")
        return self._keys[authorizer].verify(token, self._api.authorizers[authorizer].audience)

    def _event(self, request: Request, matched: Match, path: str, query: str) -> dict[str, object]:
        headers = _joined(pair for pair in request.headers if pair[0] != "cookie")
        forwarded = [headers["x-forwarded-for"]] if "x-forwarded-for" in headers else []
        headers["x-forwarded-for"] = ", ".join([*forwarded, request.peer])
        headers["x-forwarded-proto"] = "http"
        event: dict[str, object] = {
            "version": "2.0",
            "routeKey": matched.key,
            "rawPath": path,
            "rawQueryString": query,
            "headers": headers,
            "isBase64Encoded": False,
        }
        cookies = [
            part.strip() for name, value in request.headers if name == "cookie" for part in value.split(";")
        ]
        if cookies:
            event["cookies"] = cookies
        if query:
            event["queryStringParameters"] = _joined(parse_qsl(query, keep_blank_values=True))
        if matched.parameters:
            event["pathParameters"] = matched.parameters
        if request.body:
            event |= body(request.body, headers.get("content-type", ""))
        return event

    def _context(
        self,
        request: Request,
        matched: Match,
        path: str,
        request_id: str,
        claims: dict[str, object] | None,
    ) -> dict[str, object]:
        now = datetime.now(UTC)
        host = request.header("host")
        context: dict[str, object] = {
            "accountId": self._account,
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.peer,
                "userAgent": request.header("user-agent"),
            },
            "requestId": request_id,
            "routeKey": matched.key,
            "stage": "$default",
            "time": f"{now:%d}/{MONTHS[now.month - 1]}/{now:%Y:%H:%M:%S} +0000",  # %b depends on the locale
            "timeEpoch": int(now.timestamp() * 1000),
        }
        if claims is not None:
            scopes = str(claims["scope"]).split() if "scope" in claims else None
            texts = {name: claim_text(value) for name, value in claims.items()}
            context["authorizer"] = {"jwt": {"claims": texts, "scopes": scopes}}
        return context


class _Keys:
    """The signing keys of one issuer, fetched on first use."""

    def __init__(self, issuer: str, cognito: str) -> None:
        self._issuer = issuer
        pool = re.fullmatch(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com/([\w-]+)", issuer)
        self._jwks = f"{cognito}/{pool[1]}/.well-known/jwks.json" if pool else None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._lock = threading.Lock()

    def verify(self, token: str, audience: Iterable[str]) -> dict[str, object]:
        """Return the claims of a token that this issuer signed for one of the audiences.

        Raises:
            UnauthorizedError: The token is not such a token, or not valid now.
        """
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                self._key(jwt.get_unverified_header(token).get("kid")),
                algorithms=["RS256"],
                issuer=self._issuer,
                # API Gateway accepts client_id instead of aud; PyJWT does not.
                options={"require": ["exp", "iss"], "verify_aud": False, "verify_sub": False},
            )
            aud = claims.get("aud", claims.get("client_id"))
            intended = set(aud if isinstance(aud, list) else [aud])
        except (jwt.PyJWTError, httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            _log.info("token refused: %s", error)
            raise UnauthorizedError(_challenge("the token is not valid")) from error
        if not intended & set(audience):
            raise UnauthorizedError(_challenge("the token does not have a valid audience"))
        return claims

    def _key(self, kid: str | None) -> jwt.PyJWK:
        with self._lock:
            if kid not in self._keys and time.monotonic() - self._fetched > KEYS_SECONDS:
                self._fetched = time.monotonic()
                if self._jwks is None:
                    configuration = _get_json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                    self._jwks = str(configuration["jwks_uri"])
                self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(_get_json(self._jwks)).keys}
            return self._keys[kid]


def _get_json(url: str) -> dict[str, object]:
    loopback = httpx.URL(url).host in {
        "127.0.0.1",
        "localhost",
        "::1",
    }  # the developer's proxy cannot reach it
    got = httpx.get(url, timeout=5, trust_env=not loopback).raise_for_status().json()
    if not isinstance(got, dict):
        raise TypeError(f"{url} is not a JSON object")
    return got


def _challenge(reason: str) -> str:
    return f'Bearer scope="" error="invalid_token" error_description="{reason}"'


def match(routes: Iterable[Route], method: str, path: str) -> Match | None:
    """Return the most specific route for a path that is still percent-encoded.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
    """
    segments = path.split("/")
    found = [
        ((*matched[0], int(route.method == "ANY")), Match(route, matched[1]))
        for route in routes
        if route.path == "$default" or route.method in {method, "ANY"}
        if (matched := _match_path(route.path, segments)) is not None
    ]
    return min(found, key=lambda each: each[0])[1] if found else None


def _match_path(template: str, segments: list[str]) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """Return the rank of each segment (0 fixed, 1 variable, 2 greedy, 3 $default) and the values of the variables."""
    if template == "$default":
        return (3,), {}
    ranks: list[int] = []
    parameters: dict[str, str] = {}
    parts = template.split("/")
    for index, part in enumerate(parts):
        name = part[1:-1] if part.startswith("{") and part.endswith("}") else None
        if name is not None and name.endswith("+"):
            rest = "/".join(segments[index:])
            parameters[name[:-1]] = unquote(rest)
            return ((*ranks, 2), parameters) if rest else None
        value = unquote(segments[index]) if index < len(segments) else None
        if value is None or (name is None and value != part) or (name is not None and not value):
            return None
        if name is not None:
            parameters[name] = value
        ranks.append(0 if name is None else 1)
    return (tuple(ranks), parameters) if len(segments) == len(parts) else None


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the values of equal names with commas."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def claim_text(value: object) -> str:
    """Return a claim as the authorizer passes it on: always a string, a list as `[a b]`."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{' '.join(map(claim_text, value))}]"
    return json.dumps(value, separators=(",", ":"))


def body(data: bytes, content_type: str) -> dict[str, object]:
    """Return an event's fields for a body: text as it is, anything else in base64."""
    if TEXT.fullmatch(content_type.partition(";")[0].strip()):
        try:
            return {"body": data.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(data).decode(), "isBase64Encoded": True}


def response_from(payload: bytes) -> Response:
    """Return the HTTP response of a function's answer.

    Raises:
        ValueError: The answer is not a valid response.
    """
    answer = json.loads(payload)
    if not isinstance(answer, dict) or "statusCode" not in answer:
        plain = answer.encode() if isinstance(answer, str) else payload
        return Response(200, (("content-type", "application/json"),), plain)
    status = answer["statusCode"]
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    if type(status) is not int or not 200 <= status <= 599:
        raise ValueError(f"statusCode is {status!r}")
    text = answer.get("body") or ""
    headers = answer.get("headers") or {}
    cookies = answer.get("cookies") or []
    if not isinstance(text, str) or not isinstance(headers, dict) or not isinstance(cookies, list):
        raise ValueError("body, headers or cookies have the wrong type")  # noqa: TRY004  # one type for all complaints
    values = [*headers.values(), *cookies]
    if any(isinstance(value, dict | list | None) for value in values):
        raise ValueError("a header or a cookie is not a string")
    content = base64.b64decode(text, validate=True) if answer.get("isBase64Encoded") else text.encode()
    pairs = [
        (name.lower(), value if isinstance(value, str) else json.dumps(value))
        for name, value in headers.items()
    ]
    pairs = [pair for pair in pairs if pair[0] not in HOP_BY_HOP]
    if content and not any(name == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "text/plain; charset=utf-8"))
    return Response(status, (*pairs, *(("set-cookie", str(cookie)) for cookie in cookies)), content)


def _allowed(cors: Cors, origin: str) -> str | None:
    for allowed in cors.allow_origins:
        if allowed in {"*", origin}:
            return allowed
        if allowed.endswith("://*") and origin.startswith(allowed[:-1]):
            return origin
    return None


def cors_headers(cors: Cors, origin: str, *, preflight: bool) -> tuple[tuple[str, str], ...]:
    """Return the CORS headers of a response; none if the origin is not allowed."""
    allowed = _allowed(cors, origin)
    if allowed is None:
        return ()
    headers = {
        "allow-origin": allowed,
        "allow-methods": ",".join(cors.allow_methods) if preflight else "",
        "allow-headers": ",".join(cors.allow_headers) if preflight else "",
        "max-age": str(cors.max_age) if preflight else "",
        "expose-headers": "" if preflight else ",".join(cors.expose_headers),
        "allow-credentials": "true" if cors.allow_credentials else "",
    }
    return tuple((f"access-control-{name}", value) for name, value in headers.items() if value)
