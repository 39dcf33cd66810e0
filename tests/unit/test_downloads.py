"""The URLs that may be requested with Replicate's API token."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support.fake_replicate import streamed
from tests.support.photos import PNG
from tests.support.serving import serving
from triptych.failures import FailureKind
from triptych.replicate import downloads
from triptych.replicate.downloads import (
    OutputBrokenError,
    OutputRefusedError,
    OutputUnavailableError,
    Sources,
    may_see_token,
)
from triptych.runtime import hosts, tls
from triptych.runtime.budget import TimeBudget

HOSTS = ("replicate.delivery", "localhost", "127.0.0.1", "203.0.113.9")


@pytest.mark.parametrize(
    "url",
    [
        "https://replicate.delivery/out.png",
        "https://REPLICATE.delivery./out.png",
        "https://pbxt.replicate.delivery/out.png",
        "http://localhost:8000/out.png",
        "http://127.0.0.1:8000/out.png",
    ],
)
def test_a_delivery_host_may_see_the_token(url: str) -> None:
    assert may_see_token(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "http://replicate.delivery/out.png",
        "http://pbxt.replicate.delivery/out.png",
        "ftp://127.0.0.1/out.png",
        "http://203.0.113.9/out.png",  # listed, but not on this machine
        "https://notreplicate.delivery/out.png",
        "https://replicate.delivery.evil.example/out.png",
        "https://replicate.delivery@evil.example/out.png",
        "https://evil.example/?https://replicate.delivery/",
        "https://evil.example#@replicate.delivery/",
        "https://127.0.0.2/out.png",
        "http://x.localhost/out.png",
        "https://api.replicate.com/out.png",
    ],
)
def test_any_other_url_may_not_see_the_token(url: str) -> None:
    assert not may_see_token(url, HOSTS)


def test_no_delivery_hosts_means_no_url_may_see_the_token() -> None:
    assert not may_see_token("https://replicate.delivery/out.png", ())


def test_ip_address_never_matches_a_listed_suffix() -> None:
    assert not may_see_token("https://10.0.0.1/out.png", ("0.0.1",))


# ── the host of an output ──

PUBLIC, OTHER, PRIVATE = "104.16.1.1", "104.16.1.2", "10.0.0.1"
ALLOWED = ("cdn.example", "*.files.example", "127.0.0.1", "localhost")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[tuple[str, int]]:
    """Let every name have these addresses; return what was looked up."""
    looked_up: list[tuple[str, int]] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        looked_up.append((host, port))
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    return looked_up


def refusal_of(url: str) -> FailureKind | None:
    try:
        downloads._addresses(url, ALLOWED)
    except OutputRefusedError as refused:
        return refused.failure
    return None


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [
        ([PUBLIC], True),
        ([PUBLIC, OTHER], True),
        ([PRIVATE], False),
        ([PUBLIC, PRIVATE], False),
        ([PRIVATE, PUBLIC], False),
    ],
)
def test_every_address_of_a_host_must_be_public(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], *, allowed: bool
) -> None:
    resolve_to(monkeypatch, *addresses)
    assert (refusal_of("https://cdn.example/x.png") is None) is allowed


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/x.png",
        "https://CDN.example./x.png",
        "https://a.cdn.example/x.png",
        "https://a.files.example/x.png",
        "http://127.0.0.1:9/x.png",
        "https://127.0.0.1:9/x.png",
        "http://localhost:9/x.png",
    ],
)
def test_host_in_the_list_is_allowed(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example/x.png",
        "ftp://127.0.0.1/x.png",
        "ftp://localhost/x.png",
        "https://evil.example/x.png",
        "https://notcdn.example/x.png",
        "https://xn--a.cdn.example/x.png",
        "https://cdn.example.evil/x.png",
        "https://127.0.0.2/x.png",
        "https://104.16.1.1/x.png",
        "http://x.localhost/x.png",
        "https://cdn.example:port/x.png",
        "https://[cdn.example/x.png",
        "file:///etc/passwd",
        "",
    ],
)
def test_any_other_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is FailureKind.OUTPUT_HOST_NOT_ALLOWED


@pytest.mark.parametrize(
    ("url", "port"), [("https://cdn.example/", 443), ("https://cdn.example:8443/", 8443)]
)
def test_name_is_looked_up_with_its_port(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    looked_up = resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is None
    assert looked_up == [("cdn.example", port)]


def test_unknown_name_may_be_known_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr("socket.getaddrinfo", fails)
    with pytest.raises(OutputUnavailableError):
        downloads._addresses("https://cdn.example/x.png", ALLOWED)


def test_impossible_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(host: str, *_: object, **__: object) -> None:
        host.encode("idna")

    monkeypatch.setattr("socket.getaddrinfo", fails)
    assert refusal_of(f"https://{'a' * 64}.cdn.example/") is FailureKind.OUTPUT_HOST_NOT_ALLOWED


# ── the address that is connected to ──


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Refuse each connection; return where to."""
    tried: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: object, **__: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("socket.create_connection", refuse)
    return tried


def fetch_from(url: str) -> None:
    sources, budget = Sources(ALLOWED, ()), TimeBudget(30)
    with (
        pytest.raises(OutputUnavailableError),
        downloads.fetch(url, max_bytes=9, sources=sources, token=str, budget=budget),
    ):
        pass


def test_request_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, connections: list[tuple[str, int]]
) -> None:
    """The name gets a private address between the check and the connection, as in DNS rebinding."""
    answers = iter([PUBLIC, PRIVATE, PRIVATE])

    def rebinding(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", (next(answers), port))]

    monkeypatch.setattr("socket.getaddrinfo", rebinding)
    fetch_from("https://cdn.example:8443/x.png")
    assert connections == [(PUBLIC, 8443)]


def test_each_checked_address_is_tried(
    monkeypatch: pytest.MonkeyPatch, connections: list[tuple[str, int]]
) -> None:
    resolve_to(monkeypatch, "2606:4700::1", PUBLIC, PUBLIC, OTHER)
    fetch_from("https://cdn.example/x.png")
    assert connections == [("2606:4700::1", 443), (PUBLIC, 443), (OTHER, 443)]


def test_listed_address_is_connected_to_as_it_is(connections: list[tuple[str, int]]) -> None:
    fetch_from("http://127.0.0.1:9/x.png")
    assert connections == [("127.0.0.1", 9)]


@contextmanager
def tls_server(name: str, folder: Path) -> Iterator[tuple[int, Path, list[tuple[str | None, str]]]]:
    """Serve PNG on this machine with a certificate for `name`; yield port, certificate, and the names asked for.

    A POST is answered with its body.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, pair = folder / "certificate.pem", folder / "pair.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pair.write_bytes(secret + certificate.read_bytes())
    asked: list[tuple[str | None, str]] = []
    server_names: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # the client may send its next request on the same connection

        def do_GET(self) -> None:
            asked.append((server_names[-1] if server_names else None, self.headers["host"]))
            server_names.clear()
            self._answer(PNG)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["content-length"])))

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    context.sni_callback = lambda _socket, given, _context: server_names.append(given)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        yield port, certificate, asked


@pytest.mark.parametrize(("certified", "good"), [("cdn.example", True), ("other.example", False)])
def test_certificate_at_the_checked_address_must_be_the_hosts(
    tmp_path: Path, certified: str, *, good: bool
) -> None:
    with tls_server(certified, tmp_path) as (port, certificate, asked):
        context = ssl.create_default_context(cafile=str(certificate))
        transport = hosts.PinnedTransport(verify=context, trust_env=False)
        with httpx.Client(transport=transport, timeout=10) as client:
            there = hosts.pinned(("127.0.0.1",))
            if not good:
                with pytest.raises(httpx.ConnectError, match="certificate"):
                    client.get(f"https://cdn.example:{port}/", extensions=there)
                return
            answer = client.get(f"https://cdn.example:{port}/", extensions=there)
            echo = client.post(f"https://cdn.example:{port}/", content=b"a callback", extensions=there)
        assert (answer.content, str(answer.url)) == (PNG, f"https://cdn.example:{port}/")
        assert echo.content == b"a callback"
        assert asked == [("cdn.example", f"cdn.example:{port}")]


def test_client_trusts_only_the_layers_certificates_and_keeps_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was kept would be stale after Lambda has frozen the function."""
    with tls_server("cdn.example", tmp_path) as (port, certificate, asked):
        there = hosts.pinned(("127.0.0.1",))
        with hosts.client({}) as client, pytest.raises(httpx.ConnectError, match="certificate"):
            client.get(f"https://cdn.example:{port}/", extensions=there)
        context = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(tls, "context", lambda: context)
        with hosts.client({}) as client:
            for _ in range(3):
                client.get(f"https://cdn.example:{port}/", extensions=there)
        assert asked == [("cdn.example", f"cdn.example:{port}")] * 3


# ── the download ──

URL = "http://127.0.0.1/0"
Answer = Callable[[httpx.Request], httpx.Response]


def download(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, *, most: int = 10**6, seconds: float = 30
) -> bytes:
    """Fetch an output from a host that answers so; return its bytes."""
    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(downloads, "http_client", lambda: client)
    sources = Sources(("127.0.0.1",), ())
    budget = TimeBudget(seconds)
    with downloads.fetch(URL, max_bytes=most, sources=sources, token=str, budget=budget) as fetched:
        data = fetched.file.read()
        assert (fetched.content_type, fetched.size) == ("image/png", len(data))
    assert fetched.file.closed
    return data


def announced(request: httpx.Request) -> httpx.Response:
    return streamed(PNG, content_length=str(len(PNG)))


def unannounced(request: httpx.Request) -> httpx.Response:
    return streamed(PNG)


@pytest.mark.parametrize("answer", [announced, unannounced])
def test_output_of_the_largest_size_is_whole(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    assert download(monkeypatch, answer, most=len(PNG)) == PNG


@pytest.mark.parametrize("answer", [announced, unannounced])
def test_larger_output_is_refused(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    with pytest.raises(OutputRefusedError) as refused:
        download(monkeypatch, answer, most=len(PNG) - 1)
    assert refused.value.failure is FailureKind.OUTPUT_TOO_LARGE


def test_announced_large_output_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unread(httpx.SyncByteStream):
        def __iter__(self) -> None:  # type: ignore[override]  # it is never called
            raise AssertionError("it was read")

    huge = {"content-length": "1000001"}
    with pytest.raises(OutputRefusedError):
        download(monkeypatch, lambda _: httpx.Response(200, headers=huge, stream=Unread()))


def redirecting(times: int) -> Answer:
    """Redirect so often, then give the output."""

    def answer(request: httpx.Request) -> httpx.Response:
        hop = int(request.url.path.removeprefix("/"))
        return httpx.Response(302, headers={"location": f"/{hop + 1}"}) if hop < times else streamed(PNG)

    return answer


def test_three_redirects_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert download(monkeypatch, redirecting(3)) == PNG
    with pytest.raises(OutputUnavailableError, match="redirects"):
        download(monkeypatch, redirecting(4))


def test_redirect_to_another_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"location": "https://evil.example/1"})

    with pytest.raises(OutputRefusedError):
        download(monkeypatch, answer)
    assert asked == ["127.0.0.1"]


def test_spent_budget_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return streamed(PNG)

    with pytest.raises(OutputUnavailableError):
        download(monkeypatch, answer, seconds=0)
    assert asked == []
    assert download(monkeypatch, answer) == PNG
    assert asked == ["/0"]


def test_download_ends_by_itself_once_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread would go on otherwise, and hold a temporary file."""
    spent = threading.Event()
    monkeypatch.setattr(TimeBudget, "is_spent", property(lambda _: spent.is_set()))

    class Slow(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield PNG[:10]
            spent.set()
            yield PNG[10:]

    with pytest.raises(OutputUnavailableError, match="too slow"):
        download(monkeypatch, lambda _: httpx.Response(200, stream=Slow()))


def test_download_that_is_about_to_end_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeBudget, "is_spent", False)
    monkeypatch.setattr(downloads, "GRACE_SECONDS", 30)

    def answer(_: httpx.Request) -> httpx.Response:
        threading.Event().wait(0.05)
        return streamed(PNG)

    assert download(monkeypatch, answer, seconds=0) == PNG


def test_redirect_to_no_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputRefusedError) as refused:
        download(monkeypatch, lambda _: httpx.Response(302, headers={"location": "https://[1"}))
    assert refused.value.failure is FailureKind.OUTPUT_HOST_NOT_ALLOWED


@pytest.mark.parametrize("size", [len(PNG), 1000])
def test_whole_output_without_a_length_is_known_by_its_end(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    picture = PNG[:-12] + b"\0" * (size - len(PNG)) + PNG[-12:]
    assert download(monkeypatch, lambda _: streamed(picture)) == picture
    with pytest.raises(OutputBrokenError):
        download(monkeypatch, lambda _: streamed(picture[:-12]))


def test_output_that_the_host_ends_may_end_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = PNG[:-12]
    length = str(len(picture))
    assert download(monkeypatch, lambda _: streamed(picture, content_length=length)) == picture
    assert download(monkeypatch, lambda _: streamed(picture, transfer_encoding="chunked")) == picture


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, OutputUnavailableError),
        (403, OutputUnavailableError),
        (404, OutputBrokenError),
        (410, OutputBrokenError),
        (500, OutputUnavailableError),
        (204, OutputUnavailableError),
        (206, OutputUnavailableError),
    ],
)
def test_any_answer_but_200_is_no_output(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    with pytest.raises(OutputUnavailableError) as unavailable:
        download(monkeypatch, lambda _: streamed(PNG, status))
    assert isinstance(unavailable.value, OutputBrokenError) is (error is OutputBrokenError)


@pytest.mark.parametrize(("data", "framed"), [(b"", True), (b"", False), (PNG[:-1], False), (PNG[:9], False)])
def test_cut_or_empty_output_is_broken(monkeypatch: pytest.MonkeyPatch, data: bytes, *, framed: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return streamed(data, transfer_encoding="chunked") if framed else streamed(data)

    with pytest.raises(OutputBrokenError):
        download(monkeypatch, answer)


def test_other_file_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputRefusedError) as refused:
        download(monkeypatch, lambda _: streamed(b"<html>", content_type="image/png"))
    assert refused.value.failure is FailureKind.OUTPUT_NOT_A_PICTURE


@pytest.mark.parametrize(
    ("fault", "is_broken"),
    [
        (httpx.RemoteProtocolError("cut"), True),
        (httpx.ReadError("reset"), True),
        (httpx.ReadTimeout("slow"), False),
        (httpx.ConnectError("refused"), False),
    ],
)
def test_failed_transfer_may_succeed_later(
    monkeypatch: pytest.MonkeyPatch, fault: httpx.HTTPError, *, is_broken: bool
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise fault

    with pytest.raises(OutputUnavailableError) as unavailable:
        download(monkeypatch, answer)
    assert isinstance(unavailable.value, OutputBrokenError) is is_broken


def test_client_takes_nothing_from_its_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    client = downloads.http_client()
    assert not client.trust_env
    assert (
        client.headers["accept-encoding"] == "identity"
    )  # the size that is limited is the size that is stored
    assert client.headers["accept"] == "image/*"
    assert not client.follow_redirects
    timeout = client.timeout
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (3, 5, 5, 5)


def test_output_is_requested_as_it_is() -> None:
    """A compressed body would be counted by other bytes than those that are stored."""
    request = downloads.http_client().build_request("GET", "https://replicate.delivery/a.png")
    assert request.headers["accept-encoding"] == "identity"
