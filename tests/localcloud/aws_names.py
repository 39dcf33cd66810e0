"""AWS's real host names on this machine: a TLS server that plays them, and a proxy for programs that look them up.

A browser maps the names to the server's address. A function is told of no endpoint, as on AWS, and reaches the server as
its HTTPS proxy. Both see the names that AWS would use, in presigned URLs, origins and policies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.localcloud.tls_server import TlsServer

if TYPE_CHECKING:
    from collections.abc import Mapping

API_ID = "a1b2c3d4e5"


@dataclass
class AwsNames:
    """The names of one region. The context manager answers for them, after `route`.

    Args:
        region: The region.
        folder: An empty folder for the certificate, which is its own authority.
    """

    region: str
    folder: Path
    _targets: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A wildcard stands for one label.
        names = [f"*.{middle}{self.region}.amazonaws.com" for middle in ("", "s3.", "execute-api.")]
        self._server = TlsServer(names, self.folder, self._target)

    @property
    def certificate(self) -> Path:
        return self._server.certificate

    @property
    def api_url(self) -> str:
        return f"https://{API_ID}.execute-api.{self.region}.amazonaws.com"

    @property
    def address(self) -> str:
        """The server's address as `127.0.0.1:port`."""
        return f"127.0.0.1:{self._server.port}"

    def route(self, *, aws: str, api: str) -> None:
        """Send requests to the API's name to the server at `api`, and all others to the one at `aws` (URLs)."""
        addresses = {name: url.rpartition("/")[2].split(":") for name, url in (("aws", aws), ("api", api))}
        self._targets = {name: (host, int(port)) for name, (host, port) in addresses.items()}

    def _target(self, name: str) -> tuple[str, int] | None:
        return self._targets.get("api" if ".execute-api." in name else "aws")

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
