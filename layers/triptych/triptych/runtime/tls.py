"""Whom Replicate and the hosts of its pictures are believed by: httpx's certificates, read once for all clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from triptych.runtime.once import once

if TYPE_CHECKING:
    import ssl


@once
def context() -> ssl.SSLContext:
    """What each httpx client would make for itself, which takes some 20 ms of CPU.

    The first three requests of a process leave at once, in threads: two wait for the one that reads.
    """
    return httpx.create_ssl_context(trust_env=False)
