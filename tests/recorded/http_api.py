"""What API Gateway documents of HTTP APIs, as cases that run on any cloud. No recording of it is known.

A case asks an API that `ROUTES` and `CORS` describe and whose only function is `HANDLER`. The sources:

* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html
* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
* https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

type Check = Callable[[Api], object]

# The function answers with its event, or with what the query asks for.
HANDLER = """
import json

def handler(event, context):
    query = event.get("queryStringParameters") or {}
    if "raise" in query:
        raise RuntimeError("no")
    if "answer" in query:
        return json.loads(query["answer"])
    if event.get("body") and len(event["body"]) > 1000:
        event["body"] = len(event["body"])
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event)}
"""
# Method, path, whether a token is needed. The audience is AUDIENCE.
ROUTES = (
    ("ANY", "/echo/{name}", False),
    ("GET", "/mine", True),
    ("GET", "/pets/{proxy+}", False),
    ("GET", "/pets/dog/{id}", False),
    ("GET", "/pets/dog/1", False),
    ("GET", "/limited", False),
)
LIMITED = "GET /limited"  # its burst is 2, its rate is RATE
RATE = 0.01
AUDIENCE = "app"
ORIGIN = "https://app.example"
CORS: dict[str, Any] = {
    "allowOrigins": [ORIGIN],
    "allowMethods": ["GET", "POST"],
    "allowHeaders": ["authorization"],
    "exposeHeaders": ["etag"],
    "maxAge": 600,
}
_KEYS: dict[str, rsa.RSAPrivateKey] = {}


def _key(name: str = "one") -> rsa.RSAPrivateKey:
    return _KEYS.setdefault(name, rsa.generate_private_key(public_exponent=65537, key_size=2048))


@dataclass(frozen=True)
class Api:
    """A running API, and the issuer that its authorizer trusts."""

    url: str
    issuer: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=60))

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.http.request(method, f"{self.url}{path}", **options)

    def event(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Return the event that the function got."""
        return dict(self.ask(method, path, **options).raise_for_status().json())

    def answered(self, answer: object, **options: Any) -> httpx.Response:
        """Return the response of a function that answers so."""
        return self.ask("GET", "/echo/x", params={"answer": json.dumps(answer)}, **options)


@dataclass(frozen=True)
class Case:
    name: str
    answer: object  # as documented
    check: Check


def issuer_pages(url: str) -> dict[str, dict[str, Any]]:
    """Return what the issuer at `url` serves, by path."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_key().public_key()))
    return {
        "/.well-known/openid-configuration": {"issuer": url, "jwks_uri": f"{url}/keys"},
        "/keys": {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]},
    }


def token(issuer: str, key: str = "one", *, kid: str = "one", **claims: object) -> str:
    now = int(time.time())
    all_claims = {"iss": issuer, "sub": "ada", "aud": AUDIENCE, "iat": now, "exp": now + 60} | claims
    kept = {name: value for name, value in all_claims.items() if value is not None}
    return jwt.encode(kept, _key(key), algorithm="RS256", headers={"kid": kid})


def bad_tokens(issuer: str) -> dict[str, str]:
    """Return tokens that no authorizer accepts, by what is wrong."""
    now = int(time.time())
    head, payload, signature = token(issuer).split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    symmetric = {"iss": issuer, "aud": AUDIENCE, "exp": now + 60}
    return {
        "no token": "Bearer",
        "no JWT": "x",
        "expired": token(issuer, exp=now - 1),
        "without an end": token(issuer, exp=None),
        "not yet": token(issuer, nbf=now + 60),
        "another issuer": token(f"{issuer}/other"),
        "another audience": token(issuer, aud="other"),
        "no audience": token(issuer, aud=None),
        "another key": token(issuer, "two"),
        "an unknown key": token(issuer, "two", kid="two"),
        "another signature": f"{head}.{payload}.{signature[::-1]}",
        "unsigned": f"{unsigned}.{payload}.",
        "symmetric": jwt.encode(symmetric, "x" * 32, headers={"kid": "one"}),
    }


@cache
def _large(size: int) -> bytes:
    return b"x" * size


# ── the event ──


def event_fields(api: Api) -> object:
    event = api.event(
        "POST", "/echo/a?x=1", content=b'{"n": 1}', headers={"Content-Type": "application/json"}
    )
    names = ("version", "routeKey", "rawPath", "rawQueryString", "pathParameters", "body", "isBase64Encoded")
    return [event.get(name) for name in names]


def repeated_names(api: Api) -> object:
    event = api.event("GET", "/echo/a?x=1&x=2&y=%2B+", headers=[("X-Twice", "1"), ("x-twice", "2")])
    return [event["queryStringParameters"], event["headers"]["x-twice"]]


def cookies_of_a_request(api: Api) -> object:
    event = api.event("GET", "/echo/a", headers={"Cookie": "a=1; b=2"})
    return [event.get("cookies"), "cookie" in event["headers"]]


def encoded_path_variable(api: Api) -> object:
    return api.event("GET", "/echo/a%20b")["pathParameters"]


def absent_parts(api: Api) -> object:
    event = api.event("GET", "/echo/a")
    return sorted({"body", "queryStringParameters", "cookies"} & event.keys())


def body_of_a_type(content_type: str, api: Api) -> object:
    event = api.event("POST", "/echo/a", content=b"{}", headers={"Content-Type": content_type})
    return [event["body"], event["isBase64Encoded"]]


def context_of_a_request(api: Api) -> object:
    response = api.ask("GET", "/echo/a", headers={"User-Agent": "test"})
    context = response.json()["requestContext"]
    return [
        context["stage"],
        context["http"]["method"],
        context["http"]["sourceIp"],
        context["http"]["userAgent"],
        context["requestId"] == response.headers.get("apigw-requestid"),
        "authorizer" in context,
    ]


def route_of(method: str, path: str, api: Api) -> object:
    response = api.ask(method, path)
    if response.is_error:
        return [response.status_code, response.json()]
    return [response.json()["routeKey"], response.json().get("pathParameters")]


# ── the answer ──


def answer(given: object, api: Api) -> object:
    response = api.answered(given)
    kind = response.headers.get("content-type", "").partition(";")[0]
    return [response.status_code, kind, response.text.replace(" ", "")]


def invalid_answers(api: Api) -> object:
    """Return the status and body for each answer that is no valid response."""
    invalid: list[object] = [{"statusCode": "2xx"}, {"statusCode": [200]}, {"statusCode": None}]
    invalid += [{"statusCode": 200, "body": {"x": 1}}, {"statusCode": 200, "headers": [1]}]
    found = [api.answered(one) for one in invalid]
    return sorted({(one.status_code, one.text) for one in found})


def exception(api: Api) -> object:
    response = api.ask("GET", "/echo/x?raise=1")
    return [response.status_code, response.json()]


def cookies_of_an_answer(api: Api) -> object:
    response = api.answered({"statusCode": 304, "cookies": ["a=1", "b=2; Path=/"]})
    return [response.status_code, response.headers.get_list("set-cookie")]


# ── tokens ──


def good_token(api: Api) -> object:
    given = token(api.issuer, scope="read write", groups=["a", "b"], admin=True)
    found = api.event("GET", "/mine", headers={"authorization": f"Bearer {given}"})
    authorizer = found["requestContext"]["authorizer"]["jwt"]
    names = ("sub", "admin", "groups")
    return [[authorizer["claims"][name] for name in names], authorizer["scopes"]]


def client_id(api: Api) -> object:
    tokens = (token(api.issuer, aud=None, client_id=AUDIENCE), token(api.issuer, aud="x", client_id=AUDIENCE))
    return [api.ask("GET", "/mine", headers={"authorization": one}).status_code for one in tokens]


def accepted_bad_tokens(api: Api) -> object:
    """Return what is wrong with each bad token that is accepted."""
    found = {
        kind: api.ask("GET", "/mine", headers={"authorization": one}).status_code
        for kind, one in bad_tokens(api.issuer).items()
    }
    return sorted(kind for kind, status in found.items() if status != httpx.codes.UNAUTHORIZED)


def refusal_of_a_token(api: Api) -> object:
    response = api.ask("GET", "/mine", headers={"authorization": "Bearer x"})
    return [response.json(), response.headers.get("www-authenticate", "").partition(" ")[0]]


# ── CORS ──


def preflight(origin: str, api: Api) -> object:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    response = api.ask("OPTIONS", "/echo/x", headers=headers)
    names = ("allow-origin", "allow-methods", "allow-headers", "max-age")
    return [response.headers.get(f"access-control-{name}") for name in names]


def cors_of_a_function(api: Api) -> object:
    given = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}}
    found = [api.answered(given, headers={"origin": one}) for one in (ORIGIN, "https://evil.example")]
    return [one.headers.get("access-control-allow-origin") for one in found]


def cors_of_refusals(api: Api) -> object:
    found = [api.ask("GET", path, headers={"origin": ORIGIN}) for path in ("/mine", "/nowhere")]
    return [one.headers.get("access-control-allow-origin") for one in found]


# ── limits ──


def body_of_size(size: int, api: Api) -> object:
    return api.ask("POST", "/echo/x", content=_large(size)).status_code


def over_the_routes_limit(api: Api) -> object:
    found = [api.ask("GET", "/limited").status_code for _ in range(4)]
    return [found[0], found[-1], api.ask("GET", "/echo/x").status_code]


CASES = (
    Case(
        "fields of an event",
        ["2.0", "ANY /echo/{name}", "/echo/a", "x=1", {"name": "a"}, '{"n": 1}', False],
        event_fields,
    ),
    Case("repeated names in a query and in headers", [{"x": "1,2", "y": "+ "}, "1,2"], repeated_names),
    Case("cookies of a request", [["a=1", "b=2"], False], cookies_of_a_request),
    Case("encoded path variable", {"name": "a b"}, encoded_path_variable),
    Case("absent body, query and cookies", [], absent_parts),
    Case("body of a text type", ["{}", False], partial(body_of_a_type, "application/json")),
    Case("body of a binary type", ["e30=", True], partial(body_of_a_type, "image/jpeg")),
    Case("context of a request", ["$default", "GET", "127.0.0.1", "test", True, False], context_of_a_request),
    Case("most specific route", ["GET /pets/dog/1", None], partial(route_of, "GET", "/pets/dog/1")),
    Case(
        "route with a variable", ["GET /pets/dog/{id}", {"id": "2"}], partial(route_of, "GET", "/pets/dog/2")
    ),
    Case("greedy route", ["GET /pets/{proxy+}", {"proxy": "a/b"}], partial(route_of, "GET", "/pets/a/b")),
    Case("unknown route", [404, {"message": "Not Found"}], partial(route_of, "GET", "/nowhere")),
    Case("unknown method", [404, {"message": "Not Found"}], partial(route_of, "POST", "/pets/dog/1")),
    Case("answer without a status", [200, "application/json", '{"a":1}'], partial(answer, {"a": 1})),
    Case(
        "answer in base64",
        [200, "text/plain", "x"],
        partial(answer, {"statusCode": 200, "body": "eA==", "isBase64Encoded": True}),
    ),
    Case("answer with a status only", [201, "", ""], partial(answer, {"statusCode": 201})),
    Case("invalid answers", [(500, '{"message":"Internal Server Error"}')], invalid_answers),
    Case("exception in the function", [500, {"message": "Internal Server Error"}], exception),
    Case("cookies of an answer", [304, ["a=1", "b=2; Path=/"]], cookies_of_an_answer),
    Case("claims and scopes of a token", [["ada", "true", "[a b]"], ["read", "write"]], good_token),
    Case("client_id in place of an audience", [200, 401], client_id),
    Case("bad tokens that are accepted", [], accepted_bad_tokens),
    Case("refusal of a token", [{"message": "Unauthorized"}, "Bearer"], refusal_of_a_token),
    Case("preflight", [ORIGIN, "GET,POST", "authorization", "600"], partial(preflight, ORIGIN)),
    Case("preflight of another origin", [None] * 4, partial(preflight, "https://evil.example")),
    Case("CORS headers of a function are replaced", [ORIGIN, None], cors_of_a_function),
    Case("CORS headers of refusals", [ORIGIN, ORIGIN], cors_of_refusals),
    Case("body over 10 MB", 413, partial(body_of_size, 10 * 2**20 + 1)),
    Case("body over the function's 6 MB", 413, partial(body_of_size, 7 * 2**20)),
    Case("limit of a route", [200, 429, 200], over_the_routes_limit),
)
