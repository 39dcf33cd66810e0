"""A TLS server with a certificate for any host names, before the servers of this machine that answer for them."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self, override

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK = 65_536


@dataclass
class TlsServer:
    """Listens on 127.0.0.1, also as an HTTPS proxy. The context manager answers.

    Args:
        names: The names of the certificate.
        folder: An empty folder for the certificate, which is its own authority.
        target: Returns the host and port that a name's requests are sent to, or None for none.
    """

    names: Sequence[str]
    folder: Path
    target: Callable[[str], tuple[str, int] | None]

    def __post_init__(self) -> None:
        self.certificate = self.folder / "certificate.pem"
        self._key = self.folder / "key.pem"
        self._make_certificate()
        self._server = _Server(self._context(), self.target)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test of Triptych")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(one) for one in self.names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)
        context.set_alpn_protocols(["http/1.1"])
        return context


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext, target: Callable[[str], tuple[str, int] | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context, self.target = context, target
        self.names: dict[ssl.SSLObject | ssl.SSLSocket, str] = {}
        context.sni_callback = self._remember

    def _remember(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: object) -> None:
        self.names[connection] = name or ""

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may leave at any time."""


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    @override
    def handle(self) -> None:
        connection: socket.socket = self.request
        if connection.recv(1, socket.MSG_PEEK) == b"C":  # CONNECT; TLS begins with 0x16
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += connection.recv(1)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self.server.context.wrap_socket(connection, server_side=True) as client:
            target = self.server.target(self.server.names.pop(client, ""))
            if target is None:
                return
            with socket.create_connection(target) as inner:
                back = threading.Thread(target=_pump, args=(inner, client), daemon=True)
                back.start()
                _pump(client, inner)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source ends; then end the sink."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
