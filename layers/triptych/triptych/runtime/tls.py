"""The TLS trust store, loaded once for all clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from triptych.runtime.once import once

if TYPE_CHECKING:
    import ssl


@once
def context() -> ssl.SSLContext:
    """Return httpx's certificates as a context.

    Each httpx client would otherwise load them by itself, which takes 20 ms of CPU. The first three requests of a
    process start at the same time, so two of them wait for the one that loads.
    """
    return httpx.create_ssl_context(trust_env=False)
