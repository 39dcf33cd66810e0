"""An HTTP/1.1 server for the local cloud: h11 for the protocol, one thread for each connection."""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Self, override

import h11

IDLE_SECONDS = 60.0  # a connection that transfers no byte for so long is closed
LINGER_SECONDS = 3.0  # how long a refused body is still read, so that the client receives the answer
HEADER_BYTES = 65_536

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    method: str
    target: str  # path and query, as sent
    headers: tuple[tuple[str, str], ...]  # names in lower case, in the order of the request
    body: bytes
    peer: str  # the client's address

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of a header. Give `name` in lower case."""
        return next((value for key, value in self.headers if key == name), default)


@dataclass(frozen=True)
class Response:
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Handler = Callable[[Request], Response]


class HttpServer(socketserver.ThreadingTCPServer):
    """A server that listens on 127.0.0.1 at once, so that its address is known, and answers after `start`.

    Args:
        port: The port; 0 takes a free one.
        max_body: The largest body, in bytes. The answer to a larger one is 413.

    Raises:
        OSError: The port is in use.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, port: int = 0, *, max_body: int = 10 * 2**20) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Connection)
        except OSError as error:
            raise OSError(f"port {port}: {error.strerror}") from error
        self.max_body = max_body
        self.handler: Handler = lambda _: Response(503)
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """The address as `127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def start(self, handler: Handler) -> Self:
        """Answer with `handler`, which many threads call at once. If it raises, the answer is 500."""
        self.handler = handler
        threading.Thread(target=self._accept, name=self.address, daemon=True).start()
        return self

    def _accept(self) -> None:  # unlike serve_forever, this does not wake up to poll for the end
        while True:
            try:
                self.process_request(*self.get_request())
            except OSError:
                if self._stopping.wait(
                    0.05
                ):  # if it is not stopping, file descriptors have run out for a while
                    return

    def stop(self) -> None:
        """Stop listening and close every connection."""
        self._stopping.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # this ends the blocking accept
        self.server_close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        _log.exception("connection of %s", client_address)


class _Connection(socketserver.BaseRequestHandler):
    server: HttpServer
    request: socket.socket

    @override
    def setup(self) -> None:
        self.server.opened(self.request)
        self.request.settimeout(IDLE_SECONDS)
        self.request.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # Nagle's algorithm delays each answer by 40 ms
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES)

    @override
    def handle(self) -> None:
        with suppress(OSError):  # the client has gone, or is slower than IDLE_SECONDS
            try:
                while (request := self._receive()) is not None:
                    self._send(self._answer(request), request.method)
                    if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                        break
                    self._http.start_next_cycle()
            except h11.RemoteProtocolError as error:
                if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                    self._send(_message(error.error_status_hint))
            self._linger()

    @override
    def finish(self) -> None:
        self.server.closed(self.request)

    def _next_event(self) -> h11.Event | None:
        """Return the next event; None if the next request begins before this one is answered."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self.request.sendall(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            self._http.receive_data(self.request.recv(65_536))
        return event if isinstance(event, h11.Event) else None

    def _receive(self) -> Request | None:
        """Return the next request; None if the client has closed the connection or was refused."""
        head = self._next_event()
        if not isinstance(head, h11.Request):
            return None
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        body = bytearray()
        while length <= self.server.max_body:
            event = self._next_event()
            if not isinstance(event, h11.Data):
                return Request(
                    method=head.method.decode("ascii"),
                    target=head.target.decode("latin-1"),
                    headers=tuple(
                        (name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers
                    ),
                    body=bytes(body),
                    peer=self.client_address[0],
                )
            body += event.data
            length = max(length, len(body))
        self._send(_message(413))
        return None

    def _answer(self, request: Request) -> Response:
        try:
            return self.server.handler(request)
        except Exception:  # noqa: BLE001  # a handler's error must fail only its own request
            _log.exception("%s %s", request.method, request.target)
            return _message(500)

    def _send(self, response: Response, method: str = "") -> None:
        headers = [("date", formatdate(usegmt=True)), *response.headers]
        if response.status not in {204, 304}:
            headers.append(("content-length", str(len(response.body))))
        if (
            self._http.their_state is not h11.DONE
        ):  # the request's unread rest would be taken for the next request
            headers.append(("connection", "close"))
        try:
            encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            head = h11.Response(status_code=response.status, headers=encoded)
        except (h11.LocalProtocolError, UnicodeEncodeError):  # the handler returned an invalid header
            return self._send(_message(500), method)
        data = self._http.send(head) or b""
        if response.body and method != "HEAD" and response.status not in {204, 304}:
            data += self._http.send(h11.Data(data=response.body)) or b""
        return self.request.sendall(data + (self._http.send(h11.EndOfMessage()) or b""))

    def _linger(self) -> None:
        """Read the rest of the request for a while. Closing at once would reset the connection and lose the answer."""
        self.request.shutdown(socket.SHUT_WR)
        self.request.settimeout(LINGER_SECONDS)
        for _ in range(2048):
            if not self.request.recv(65_536):
                return


def _message(status: int) -> Response:
    """Return API Gateway's own answer with this status."""
    text = {
        400: "Bad Request",
        404: "Not Found",
        413: "Request Entity Too Large",
        431: "Request Header Fields Too Large",
    }.get(status, "Internal Server Error")
    return json_message(status, text)


def json_message(status: int, message: str) -> Response:
    """Return an answer with the body `{"message": …}`, as API Gateway sends it."""
    return Response(
        status, (("content-type", "application/json"),), b'{"message":"' + message.encode() + b'"}'
    )
