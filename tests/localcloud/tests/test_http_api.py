"""Tests of the HTTP API beyond what API Gateway documents (test_documented.py): rare requests and broken ones."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.localcloud import http_api, http_server
from tests.localcloud.functions import THROTTLED, TOO_LARGE, Functions, Machine, Result
from tests.localcloud.http_api import Gateway, body, claim_text, match, response_from
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.localcloud.stack import Authorizer, Cors, Function, HttpApi, Route
from tests.localcloud.throttle import Rate

HANDLER = """
import json

def handler(event, context):
    if event["rawPath"] == "/echo/raise":
        raise RuntimeError("no")
    if "answer" in event.get("queryStringParameters", {}):
        return json.loads(event["queryStringParameters"]["answer"])
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event)}
"""
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CORS = Cors(("https://app.example",), ("GET", "POST"), ("authorization",), ("etag",), 600)


def route(method: str, path: str, authorizer: str | None = None) -> Route:
    return Route(method, path, "Echo", authorizer)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with HttpServer() as server:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())) | {
            "kid": "one",
            "alg": "RS256",
        }
        pages = {
            "/.well-known/openid-configuration": {"jwks_uri": f"{server.url}/keys"},
            "/keys": {"keys": [key]},
            "/us-east-1_pool/.well-known/jwks.json": {"keys": [key]},
        }
        server.start(lambda request: Response(200, (), json.dumps(pages[request.target]).encode()))
        yield server.url


@pytest.fixture(scope="module")
def url(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.py").write_text(HANDLER)
    function = Function("Echo", folder, "echo.handler", 5, 128, {}, ())
    machine = Machine("http://127.0.0.1:9", "us-east-1", "123456789012", "k", "s")
    api = HttpApi(
        (
            route("ANY", "/echo/{name}"),
            route("GET", "/mine", "own"),
            route("GET", "/pool", "cognito"),
        ),
        {
            "own": Authorizer("own", issuer, ("app",)),
            "cognito": Authorizer(
                "cognito", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool", ("c",)
            ),
        },
        CORS,
    )
    with (
        Functions({"Echo": function}, {"Echo": machine}, workers=1, log=folder / "log") as functions,
        HttpServer() as server,
    ):
        server.start(Gateway(api, functions, cognito=issuer, account="123456789012"))
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def token(issuer: str, key: rsa.RSAPrivateKey = KEY, *, kid: str = "one", **claims: object) -> str:
    now = int(time.time())
    claims = {"iss": issuer, "sub": "ada", "aud": "app", "iat": now, "exp": now + 60} | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})


# Events.


def test_event_has_payload_format_2(client: httpx.Client) -> None:
    response = client.post(
        "/echo/a%20b?x=1&x=2&y=%2B+&z",
        content=b'{"n": 1}',
        headers=[
            ("Content-Type", "application/json"), ("X-Twice", "1"), ("x-twice", "2"), ("User-Agent", "test"),
            ("Cookie", "a=1; b=2"),
        ],
    )  # fmt: skip
    event = response.json()
    assert event["version"] == "2.0"
    assert event["routeKey"] == "ANY /echo/{name}"
    assert event["rawPath"] == "/echo/a b"
    assert event["rawQueryString"] == "x=1&x=2&y=%2B+&z"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "+ ", "z": ""}
    assert event["pathParameters"] == {"name": "a b"}
    assert event["headers"]["x-twice"] == "1,2"
    assert event["cookies"] == ["a=1", "b=2"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"n": 1}', False)
    context = event["requestContext"]
    assert context["http"] == {
        "method": "POST", "path": "/echo/a b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }  # fmt: skip
    assert (context["stage"], context["accountId"]) == ("$default", "123456789012")
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 10
    assert context["requestId"] == response.headers["apigw-requestid"]
    assert "authorizer" not in context


@pytest.mark.parametrize(
    ("content_type", "data", "as_text"),
    [
        ("text/plain; charset=utf-8", "grüß".encode(), True),
        ("application/json", b"{}", True),
        ("application/problem+json", b"{}", True),
        ("APPLICATION/XML", b"<x/>", True),
        ("application/json", b"\xff", False),
        ("image/jpeg", b"text all the same", False),
        ("application/jsonx", b"{}", False),
        ("", b"{}", False),
    ],
)
def test_only_text_is_sent_as_text(content_type: str, data: bytes, *, as_text: bool) -> None:
    made = body(data, content_type)
    assert made["isBase64Encoded"] is not as_text
    assert made["body"] == (data.decode() if as_text else base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("method", "path", "key", "parameters"),
    [
        ("GET", "/pets/dog/1", "GET /pets/dog/1", {}),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}", {"id": "2"}),
        ("GET", "/pets/dog/a%2Fb", "GET /pets/dog/{id}", {"id": "a/b"}),
        ("GET", "/pets/cat/1", "GET /pets/{proxy+}", {"proxy": "cat/1"}),
        ("GET", "/pets/dog/1/", "GET /pets/{proxy+}", {"proxy": "dog/1/"}),
        ("POST", "/pets/dog/1", "ANY /{proxy+}", {"proxy": "pets/dog/1"}),
        ("DELETE", "/pets", "DELETE /pets", {}),
        ("GET", "/", "$default", {}),
    ],
)
def test_most_specific_route_matches(method: str, path: str, key: str, parameters: dict[str, str]) -> None:
    routes = [
        route("ANY", "$default"), route("ANY", "/{proxy+}"), route("GET", "/pets/{proxy+}"),
        route("GET", "/pets/dog/{id}"), route("GET", "/pets/dog/1"), route("ANY", "/pets"), route("DELETE", "/pets"),
    ]  # fmt: skip
    found = match(routes, method, path)
    assert found is not None
    assert (found.key, found.parameters) == (key, parameters)


@pytest.mark.parametrize("path", ["/jobs/", "/jobs", "/job/1", "/jobs/1/2", "//jobs/1", "/jobs//"])
def test_variable_matches_exactly_one_segment(path: str) -> None:
    assert match([route("GET", "/jobs/{id}")], "GET", path) is None


# Answers.


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "text"),
    [
        ({"hello": 1}, 200, "application/json", '{"hello":1}'),
        ("plain", 200, "application/json", "plain"),
        (None, 200, "application/json", "null"),
        ({"statusCode": 201}, 201, None, ""),
        ({"statusCode": "202", "body": "x"}, 202, "text/plain; charset=utf-8", "x"),
        ({"statusCode": 200, "body": "eA==", "isBase64Encoded": True}, 200, "text/plain; charset=utf-8", "x"),
        ({"statusCode": 200, "headers": {"Content-Type": "a/b", "X": 5}, "body": "x"}, 200, "a/b", "x"),
    ],
)
def test_answer_becomes_a_response(answer: object, status: int, content_type: str | None, text: str) -> None:
    response = response_from(json.dumps(answer, separators=(",", ":")).encode())
    assert (response.status, response.body.decode()) == (status, text)
    assert dict(response.headers).get("content-type") == content_type


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": None}, {"statusCode": True}, {"statusCode": 99}, {"statusCode": "2xx"}, {"statusCode": [200]},
        {"statusCode": 200, "body": {"x": 1}}, {"statusCode": 200, "headers": [1]},
        {"statusCode": 200, "headers": {"x": None}}, {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "body": "é!", "isBase64Encoded": True},
        {"statusCode": 200, "headers": {"x": "line\nbreak"}}, {"statusCode": 200, "headers": {"bad name": "x"}},
        {"statusCode": 200, "headers": {"x": "日本"}},
    ],
)  # fmt: skip
def test_invalid_answer_is_a_500(client: httpx.Client, answer: object) -> None:
    response = client.get("/echo/x", params={"answer": json.dumps(answer)})
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


def test_cookies_are_sent_and_a_304_has_no_body(client: httpx.Client) -> None:
    answer = {"statusCode": 304, "body": "not to be sent", "cookies": ["a=1", "b=2; Path=/"]}
    response = client.get("/echo/x", params={"answer": json.dumps(answer)})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2; Path=/"]
    assert client.get("/echo/x").status_code == 200


def test_slow_function_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never:
        def submit(self, name: str, payload: bytes) -> Future[Result]:
            return Future()

    monkeypatch.setattr(http_api, "INTEGRATION_SECONDS", 0.01)
    api = HttpApi((route("GET", "/"),), {}, None)
    gateway = Gateway(api, Never(), cognito="", account="")  # type: ignore[arg-type]  # the gateway uses only `submit`
    response = gateway(Request("GET", "/", (), b"", "127.0.0.1"))
    assert (response.status, response.body) == (503, b'{"message":"Service Unavailable"}')


def test_throttled_route_leaves_the_others_open() -> None:
    class Answering:
        def submit(self, name: str, payload: bytes) -> Future[Result]:
            done: Future[Result] = Future()
            done.set_result(Result(b'{"statusCode": 200}'))
            return done

    api = HttpApi((route("GET", "/a"), route("GET", "/b")), {}, None, {"GET /a": Rate(2, 0.001)})
    gateway = Gateway(api, Answering(), cognito="", account="")  # type: ignore[arg-type]  # as above
    answers = [gateway(Request("GET", path, (), b"", "127.0.0.1")) for path in ("/a", "/a", "/a", "/b")]
    assert [answer.status for answer in answers] == [200, 200, 429, 200]
    assert answers[2].body == b'{"message":"Too Many Requests"}'


@pytest.mark.parametrize(
    ("refusal", "status", "message"),
    [(THROTTLED, 503, "Service Unavailable"), (TOO_LARGE, 413, "Request Entity Too Large")],
)
def test_refused_invocation_has_api_gateways_status(refusal: str, status: int, message: str) -> None:
    class Refusing:
        def submit(self, name: str, payload: bytes) -> Future[Result]:
            future: Future[Result] = Future()
            future.set_result(Result(b'{"errorType": "any"}', refusal))
            return future

    api = HttpApi((route("GET", "/"),), {}, None)
    gateway = Gateway(api, Refusing(), cognito="", account="")  # type: ignore[arg-type]  # the gateway uses only `submit`
    response = gateway(Request("GET", "/", (), b"", "127.0.0.1"))
    assert (response.status, json.loads(response.body)) == (status, {"message": message})


# Tokens.


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_valid_token_is_accepted_with_claims_as_strings(
    client: httpx.Client, issuer: str, scheme: str
) -> None:
    good = token(issuer, scope="read write", groups=["a", "b"], admin=True)
    response = client.get("/mine", headers={"authorization": scheme + good})
    assert response.status_code == 200
    authorizer = response.json()["requestContext"]["authorizer"]["jwt"]
    assert authorizer["scopes"] == ["read", "write"]
    assert (authorizer["claims"]["sub"], authorizer["claims"]["admin"]) == ("ada", "true")
    assert authorizer["claims"]["groups"] == "[a b]"
    assert authorizer["claims"]["exp"].isdecimal()


def test_keys_of_a_cognito_issuer_come_from_moto(client: httpx.Client) -> None:
    good = token("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool", aud="c")
    assert client.get("/pool", headers={"authorization": good}).status_code == 200


def bad_tokens(issuer: str) -> dict[str, str]:
    now = int(time.time())
    good = token(issuer)
    head, payload, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return {
        "none": "",
        "only the scheme": "Bearer",
        "no token": "Bearer x",
        "bytes": "Bearer \xff.\xfe.\xfd",
        "expired": token(issuer, exp=now - 1),
        "without an end": token(issuer, exp=None),
        "not yet": token(issuer, nbf=now + 60),
        "another issuer": token(f"{issuer}/other"),
        "another audience": token(issuer, aud="other"),
        "no audience": token(issuer, aud=None),
        "audience of a wrong type": token(issuer, aud={"app": 1}),
        "another key": token(issuer, OTHER_KEY),
        "an unknown key": token(issuer, OTHER_KEY, kid="two"),
        "another signature": f"{head}.{payload}.{signature[::-1]}",
        "unsigned": f"{unsigned}.{payload}.",
        "another payload": f"{head}.{base64.urlsafe_b64encode(b'[]').decode().rstrip('=')}.{signature}",
        "symmetric": jwt.encode(
            {"iss": issuer, "aud": "app", "exp": now + 60}, "x" * 32, headers={"kid": "one"}
        ),
    }


def test_invalid_token_is_a_401(client: httpx.Client, issuer: str) -> None:
    for kind, value in bad_tokens(issuer).items():
        response = client.get("/mine", headers={b"authorization": value.encode("latin-1")})
        assert (kind, response.status_code, response.json()) == (kind, 401, {"message": "Unauthorized"})
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/mine").status_code == 401


def test_claims_become_strings() -> None:
    assert [claim_text(value) for value in ("a", 1, True, None, ["x", 2])] == [
        "a",
        "1",
        "true",
        "null",
        "[x 2]",
    ]


# CORS.


def test_gateway_answers_preflights(client: httpx.Client) -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    response = client.options("/anything", headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers["access-control-allow-methods"] == "GET,POST"
    assert response.headers["access-control-allow-headers"] == "authorization"
    assert response.headers["access-control-max-age"] == "600"
    refused = client.options("/anything", headers=headers | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers


def test_every_answer_has_the_apis_cors_headers(client: httpx.Client) -> None:
    answer = json.dumps({"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}})
    for path in ("/mine", "/nowhere", f"/echo/x?answer={answer}"):
        response = client.get(path, headers={"origin": "https://app.example"})
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert response.headers["access-control-expose-headers"] == "etag"
        refused = client.get(path, headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers


# The connection.


def raw(url: str, sent: bytes) -> bytes:
    """Send bytes that no client library would send; return everything that the server sends until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_connection_serves_many_requests_without_nagles_delay(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_delay: list[int] = []
    handle = http_server._Connection.handle

    def handled(connection: http_server._Connection) -> None:
        if connection.server.url == url:
            no_delay.append(connection.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        handle(connection)

    monkeypatch.setattr(http_server._Connection, "handle", handled)
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    for _ in range(20):
        connection.request("GET", "/echo/x")
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()
    assert len(no_delay) == 1
    assert no_delay[0]  # with Nagle's algorithm, each answer would take 40 ms longer


def test_head_sends_the_length_without_a_body(url: str) -> None:
    got = raw(url, b"HEAD /echo/x HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
    head, _, rest = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 0" not in head
    assert rest.startswith(b"HTTP/1.1 404")


def test_chunked_body_and_expect_continue_are_accepted(client: httpx.Client, url: str) -> None:
    chunked = client.post("/echo/x", content=iter([b"ab", b"cd"]), headers={"content-type": "text/plain"})
    assert chunked.json()["body"] == "abcd"
    got = raw(url, b"POST /echo/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi")
    assert got.startswith((b"HTTP/1.1 100", b"HTTP/1.1 200"))


@pytest.mark.parametrize("chunked", [False, True])
def test_client_receives_the_413_for_a_body_over_10_mib(client: httpx.Client, *, chunked: bool) -> None:
    data = bytes(10 * 2**20 + 1)
    content = (data[at : at + 2**16] for at in range(0, len(data), 2**16)) if chunked else data
    assert client.post("/echo/x", content=content).status_code == 413
    assert client.get("/echo/x").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /echo/x HTTP/1.1\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST /echo/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /echo/x HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_malformed_request_is_a_4xx(url: str, client: httpx.Client, sent: bytes) -> None:
    assert raw(url, sent).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert client.get("/echo/x").status_code == 200


def test_interrupted_request_does_not_affect_others(url: str, client: httpx.Client) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    open_ones = []
    for sent in (b"", b"GET /ec", b"POST /echo/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(sent)
        open_ones.append(connection)
    assert client.get("/echo/x").status_code == 200
    for connection in open_ones:
        connection.close()
    assert client.get("/echo/x").status_code == 200


def test_concurrent_requests_wait_for_a_worker_and_are_answered(url: str) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.get(f"{url}/echo/x", trust_env=False).status_code)

    everyone = [threading.Thread(target=ask) for _ in range(30)]
    for each in everyone:
        each.start()
    for each in everyone:
        each.join()
    assert statuses == [200] * 30


def test_stopped_server_refuses_connections(tmp_path: Path) -> None:
    server = HttpServer().start(lambda _: Response(200))
    held = socket.create_connection(("127.0.0.1", server.port))
    assert httpx.get(server.url, trust_env=False).status_code == 200
    server.stop()
    held.settimeout(5)
    assert held.recv(1) == b""
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)
