"""Named hosts on the internet, played by servers of this machine. Only what lies below a function's code differs.

The resolver returns the addresses that a test chooses. A connection to port 443 of such an address reaches a server of
this machine. The function checks the addresses and the certificate as on AWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Runs in the function's process before its code.
_PRELUDE = """
def play_internet(names, servers, certificates):
    import socket, ssl, threading
    asked = threading.local()
    resolve, connect, trust = socket.getaddrinfo, socket.socket.connect, ssl.create_default_context

    def getaddrinfo(host, *args, **kwargs):
        if host not in names:
            return resolve(host, *args, **kwargs)
        before = vars(asked).setdefault(host, [])
        answer = names[host][min(len(before), len(names[host]) - 1)]
        before.append(answer)
        return [found for address in answer for found in resolve(address, *args, **kwargs)]

    def connect_here(self, address):
        here = address[1] == 443 and servers.get(address[0])
        connect(self, ("127.0.0.1", here) if here else address)

    def create_default_context(*args, **kwargs):
        context = trust(*args, **kwargs)
        context.load_verify_locations(cadata=certificates)
        return context

    socket.getaddrinfo, socket.socket.connect = getaddrinfo, connect_here
    ssl.create_default_context = create_default_context
"""


@dataclass(frozen=True)
class Internet:
    """The hosts, their addresses and their servers.

    Args:
        names: By name, the addresses that the first look-up of a thread returns, the second one, and so on. Each download
            has its own thread. The last answer repeats.
        servers: By address, the port of this machine that is its port 443.
        certificates: The authorities that the functions trust besides their own, as PEM.
    """

    names: Mapping[str, Sequence[Sequence[str]]]
    servers: Mapping[str, int]
    certificates: str

    @property
    def prelude(self) -> str:
        """The code that a function's process runs first."""
        return f"{_PRELUDE}\nplay_internet({self.names!r}, {self.servers!r}, {self.certificates!r})\n"
